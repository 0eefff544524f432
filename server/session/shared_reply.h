// A reply that many callers get: made once, by the first of them, and kept as
// long as this is.
#ifndef BATCHNORMD_SERVER_SESSION_SHARED_REPLY_H_
#define BATCHNORMD_SERVER_SESSION_SHARED_REPLY_H_

#include <memory>
#include <mutex>

namespace batchnorm::session {

// Thread-safe. What a reply is made of is known to its callers only: all of
// them name the same type.
class SharedReply {
 public:
  // What make() returned, to this caller or to an earlier one.
  template <typename Reply, typename Make>
  std::shared_ptr<const Reply> GetOrMake(const Make& make) {
    const std::lock_guard lock(mutex_);
    if (reply_ == nullptr) reply_ = std::make_shared<const Reply>(make());
    return std::static_pointer_cast<const Reply>(reply_);
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<const void> reply_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SHARED_REPLY_H_
