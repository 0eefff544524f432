#include "server/rpc/call_census.h"

namespace batchnorm::rpc {

void CallCensus::Enter() {
  const std::lock_guard lock(mutex_);
  ++present_;
}

void CallCensus::Leave() {
  const std::lock_guard lock(mutex_);
  if (--present_ == 0) changed_.notify_all();
}

void CallCensus::WaitUntilEmpty() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return present_ == 0; });
}

bool CallCensus::Receive() {
  const std::lock_guard lock(mutex_);
  ++received_;
  return !refusing_;
}

void CallCensus::RefuseFromNowOn() {
  const std::lock_guard lock(mutex_);
  refusing_ = true;
}

void CallCensus::CountAnswered() {
  const std::lock_guard lock(mutex_);
  if (++answered_ == received_) changed_.notify_all();
}

std::int64_t CallCensus::answered() const {
  const std::lock_guard lock(mutex_);
  return answered_;
}

void CallCensus::WaitUntilAnswered(absl::Time deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, absl::ToChronoTime(deadline),
                      [this] { return answered_ == received_; });
}

}  // namespace batchnorm::rpc
