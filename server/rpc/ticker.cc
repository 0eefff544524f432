#include "server/rpc/ticker.h"

#include <utility>

namespace batchnorm::rpc {

Ticker::Ticker(absl::Duration period, std::function<void()> tick)
    : thread_([this, period, tick = std::move(tick)] {
        while (!StoppedWithin(period)) tick();
      }) {}

Ticker::~Ticker() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

bool Ticker::StoppedWithin(absl::Duration period) {
  std::unique_lock lock(mutex_);
  return stop_.wait_for(lock, absl::ToChronoMilliseconds(period),
                        [this] { return stopped_; });
}

}  // namespace batchnorm::rpc
