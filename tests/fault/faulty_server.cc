// batchnormd with faults: the same program, flags and all, in which what
// BN_FAULT names goes wrong (plan.h).
#include <atomic>
#include <cstdlib>
#include <memory>
#include <utility>

#include "server/program.h"
#include "tests/fault/faulty_store.h"
#include "tests/fault/plan.h"

int main(int argc, char** argv) {
  using namespace batchnorm;
  const char* const text = std::getenv("BN_FAULT");
  const fault::Plan plan = fault::ParsePlan(text == nullptr ? "" : text);
  std::atomic<int> turns = 0;
  const Hooks hooks = {.wrap_store =
                           [&plan](std::unique_ptr<storage::Store> store) {
                             return std::make_unique<fault::FaultyStore>(
                                 std::move(store), plan);
                           },
                       .on_turn =
                           [&plan, &turns] {
                             if (++turns == plan.kill_before_compute)
                               fault::Die();
                           }};
  return RunProgram(argc, argv, hooks);
}
