// Which ranks of a group are alive: those that keep a Join open.
//
// Nothing here is called back under a lock: whom to tell what is returned.
// Thread-compatible: a session's lock guards it.
#ifndef BATCHNORMD_SERVER_SESSION_PRESENCE_H_
#define BATCHNORMD_SERVER_SESSION_PRESENCE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/session.h"

namespace batchnorm::session {

inline constexpr std::size_t kMaxJobBytes = 128;

// INVALID_ARGUMENT `BAD_JOB`.
absl::Status CheckJob(std::string_view job);

class Presence {
 public:
  struct Member {
    std::uint64_t ticket = 0;
    std::string job;
    OnPresence on_presence;
  };
  // To be called outside all locks.
  struct News {
    OnPresence on_presence;
    absl::StatusOr<PresentRanks> what;
  };

  // The rank is there. A former Join of it, by the same job, is told ABORTED
  // `CALL_REPLACED`. ALREADY_EXISTS `OTHER_JOB` while another job is there.
  // Returns the ticket that Leave takes.
  absl::StatusOr<std::uint64_t> Join(std::uint32_t rank, std::string_view job,
                                     OnPresence on_presence,
                                     std::uint64_t last_step,
                                     std::vector<News>& news);

  // Whether the rank was there with that ticket, and is not any more.
  bool Leave(std::uint32_t rank, std::uint64_t ticket, std::uint64_t last_step,
             std::vector<News>& news);

  // Ends the Joins of the ranks from `first` on.
  std::vector<News> EndFrom(std::uint32_t first, const absl::Status& why);

  const std::map<std::uint32_t, Member>& members() const { return members_; }

 private:
  void TellAll(std::uint64_t last_step, std::vector<News>& news);

  std::map<std::uint32_t, Member> members_;
  std::uint64_t last_ticket_ = 0;
  std::uint64_t last_version_ = 0;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_PRESENCE_H_
