// Who may write a session: for each rank the newest token. A caller without a
// token is nobody's writer, and is not fenced.
//
// Thread-compatible: a session's lock guards it.
#ifndef BATCHNORMD_SERVER_SESSION_WRITERS_H_
#define BATCHNORMD_SERVER_SESSION_WRITERS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace batchnorm::session {

struct Writer {
  std::string token;  // 128 random bits in hexadecimal
  std::string nonce;  // what its caller sent for it

  bool operator==(const Writer&) const = default;
};

inline constexpr std::size_t kMinNonceBytes = 8;
inline constexpr std::size_t kMaxNonceBytes = 64;

// INVALID_ARGUMENT `BAD_NONCE`.
absl::Status CheckNonce(std::string_view nonce);

class Writers {
 public:
  using ByRank = std::map<std::uint32_t, Writer>;

  Writers() = default;
  explicit Writers(ByRank by_rank) : by_rank_(std::move(by_rank)) {}

  // FAILED_PRECONDITION `FENCED` if the token is not the newest of the rank.
  absl::Status Check(std::uint32_t rank, std::string_view token) const;
  // The same, for the token of any rank.
  absl::Status CheckAny(std::string_view token) const;

  // Whether this nonce got the rank's newest token.
  bool HasNonce(std::uint32_t rank, std::string_view nonce) const;

  // The rank's token for this nonce: the same one again for the nonce that got
  // the newest, else a new one, which fences the former.
  const std::string& Acquire(std::uint32_t rank, std::string_view nonce);

  // Leaves only the writer that holds the token.
  void FenceAllBut(std::string_view token);

  const ByRank& by_rank() const { return by_rank_; }

 private:
  ByRank by_rank_;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_WRITERS_H_
