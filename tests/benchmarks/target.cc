#include "tests/benchmarks/target.h"

#include <fmt/format.h>

namespace batchnorm::benchmark {

std::string LineOf(const Target& target) {
  return fmt::format("target {} {:.3g} {}{:g} {}", target.name, target.value,
                     target.is_at_least ? ">=" : "<=", target.bound,
                     target.met() ? "met" : "missed");
}

}  // namespace batchnorm::benchmark
