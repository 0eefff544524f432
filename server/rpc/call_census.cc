#include "server/rpc/call_census.h"

namespace batchnorm::rpc {

void CallCensus::Enter() {
  const std::lock_guard lock(mutex_);
  ++present_;
}

void CallCensus::Leave() {
  const std::lock_guard lock(mutex_);
  if (--present_ == 0) empty_.notify_all();
}

void CallCensus::WaitUntilEmpty() {
  std::unique_lock lock(mutex_);
  empty_.wait(lock, [this] { return present_ == 0; });
}

}  // namespace batchnorm::rpc
