#include "server/session/spread.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

namespace batchnorm::session {

namespace {

constexpr std::size_t kTogether = 8;

}  // namespace

void Spread(const Run& run, std::vector<Task> tasks) {
  const std::size_t here = std::min(tasks.size(), kTogether);
  for (std::size_t begin = here; begin < tasks.size(); begin += kTogether) {
    const std::size_t size = std::min(kTogether, tasks.size() - begin);
    const auto first = std::next(tasks.begin(), static_cast<long>(begin));
    std::vector<Task> some(
        std::make_move_iterator(first),
        std::make_move_iterator(std::next(first, static_cast<long>(size))));
    run([some = std::move(some)] {
      for (const Task& task : some) task();
    });
  }
  for (std::size_t i = 0; i < here; ++i) tasks[i]();
}

}  // namespace batchnorm::session
