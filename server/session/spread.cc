#include "server/session/spread.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <thread>
#include <utility>

namespace batchnorm::session {

namespace {

constexpr std::size_t kFew = 8;
constexpr std::size_t kFewer = 2;  // that take less time than waking a thread

std::size_t TogetherOf(std::size_t tasks, std::size_t threads) {
  return std::max(kFew, (tasks + threads - 1) / threads);
}

// Gives the tasks from `begin` on to `run`.
void GiveAway(const Run& run, std::vector<Task>& tasks, std::size_t begin,
              std::size_t together) {
  for (; begin < tasks.size(); begin += together) {
    const std::size_t size = std::min(together, tasks.size() - begin);
    const auto first = std::next(tasks.begin(), static_cast<long>(begin));
    std::vector<Task> some(
        std::make_move_iterator(first),
        std::make_move_iterator(std::next(first, static_cast<long>(size))));
    run([some = std::move(some)] {
      for (const Task& task : some) task();
    });
  }
}

}  // namespace

std::size_t SpreadingThreads() {
  static const std::size_t threads =
      std::max(2U, std::thread::hardware_concurrency()) / 2;
  return threads;
}

void Spread(const Run& run, std::vector<Task> tasks, std::size_t threads) {
  const std::size_t together = TogetherOf(tasks.size(), threads);
  GiveAway(run, tasks, together, together);
  const std::size_t here = std::min(tasks.size(), together);
  for (std::size_t i = 0; i < here; ++i) tasks[i]();
}

void SpreadElsewhere(const Run& run, std::vector<Task> tasks,
                     std::size_t threads) {
  if (tasks.size() > kFewer) {
    return GiveAway(run, tasks, 0, TogetherOf(tasks.size(), threads));
  }
  for (const Task& task : tasks) task();
}

}  // namespace batchnorm::session
