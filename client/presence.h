// A rank's sign of life.
#ifndef BATCHNORMD_CLIENT_PRESENCE_H_
#define BATCHNORMD_CLIENT_PRESENCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace batchnorm::client {

class Connection;  // connection.h

struct JoinArgs {
  std::string session = {};
  std::uint32_t rank = 0;
  // Alike on all ranks of one run, unlike that of other runs; 1 to 128 bytes.
  std::string job = {};
  std::string writer_token = {};  // of AcquireSession; empty: not fenced
};

// Keeps a Join open from construction to destruction, on a thread of its own:
// when this process dies, ranks that wait for it are told within a second, and
// not only when they have waited for the server's timeout.
//
// A connection that is lost is made again, after random pauses that grow to two
// seconds. What does not pass by itself (OTHER_JOB, FENCED, SESSION_NOT_FOUND,
// a bad argument) ends it: status() says why, and the ranks' calls go on
// without it. So does CALL_REPLACED: another process has joined as this rank,
// and the two would take turns.
//
// Thread Safety: all methods may be called from any thread.
class Presence {
 public:
  Presence(std::shared_ptr<Connection> connection, const JoinArgs& args);
  Presence(Presence&&) noexcept;
  Presence& operator=(Presence&&) noexcept;
  ~Presence();

  // OK while it lasts, or is being made again.
  absl::Status status() const;

  // Who had joined when the server last said; empty before.
  std::vector<std::uint32_t> present_ranks() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_PRESENCE_H_
