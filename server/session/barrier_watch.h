// The sessions in which ranks wait for others, so that somebody looks at the
// time. Thread-safe.
#ifndef BATCHNORMD_SERVER_SESSION_BARRIER_WATCH_H_
#define BATCHNORMD_SERVER_SESSION_BARRIER_WATCH_H_

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace batchnorm::session {

class Session;

class BarrierWatch {
 public:
  // Until it is taken.
  void Add(const std::shared_ptr<Session>& session) {
    const std::lock_guard lock(mutex_);
    sessions_[session.get()] = session;
  }

  // Those that were added and still exist. Add those again that still wait.
  std::vector<std::shared_ptr<Session>> Take() {
    std::unordered_map<Session*, std::weak_ptr<Session>> taken;
    {
      const std::lock_guard lock(mutex_);
      taken.swap(sessions_);
    }
    std::vector<std::shared_ptr<Session>> sessions;
    for (const auto& [address, session] : taken) {
      if (auto living = session.lock()) sessions.push_back(std::move(living));
    }
    return sessions;
  }

 private:
  std::mutex mutex_;
  // Guarded by mutex_.
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_BARRIER_WATCH_H_
