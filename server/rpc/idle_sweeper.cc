#include "server/rpc/idle_sweeper.h"

#include <algorithm>
#include <cstdint>

#include "spdlog/spdlog.h"

namespace batchnorm::rpc {
namespace {

// A session outlives its time by a quarter at most, and by a minute at most.
absl::Duration PeriodFor(absl::Duration idle_ttl) {
  return std::clamp(idle_ttl / 4, absl::Milliseconds(10), absl::Minutes(1));
}

}  // namespace

IdleSweeper::IdleSweeper(session::Registry& registry, absl::Duration idle_ttl)
    : registry_(registry),
      thread_([this, idle_ttl] { Sweep(PeriodFor(idle_ttl)); }) {}

IdleSweeper::~IdleSweeper() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void IdleSweeper::Sweep(absl::Duration period) {
  while (!StoppedWithin(period)) {
    const std::int64_t forgotten = registry_.ExpireIdle();
    if (forgotten > 0) spdlog::info("forgot {} idle sessions", forgotten);
  }
}

bool IdleSweeper::StoppedWithin(absl::Duration period) {
  std::unique_lock lock(mutex_);
  return stop_.wait_for(lock, absl::ToChronoMilliseconds(period),
                        [this] { return stopped_; });
}

}  // namespace batchnorm::rpc
