#include "server/session/writers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/random.h"

namespace batchnorm::session {

namespace {

absl::Status Fenced() {
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      "writer_token: expected the newest of its rank, got another; another "
      "writer has acquired the session since, or it was imported",
      {.reason = "FENCED", .field = "writer_token"});
}

}  // namespace

absl::Status CheckNonce(std::string_view nonce) {
  if (nonce.size() >= kMinNonceBytes && nonce.size() <= kMaxNonceBytes) {
    return absl::OkStatus();
  }
  return InvalidField(
      "nonce", "BAD_NONCE",
      absl::StrCat("expected ", kMinNonceBytes, " to ", kMaxNonceBytes,
                   " random bytes, got ", nonce.size()));
}

absl::Status Writers::Check(std::uint32_t rank, std::string_view token) const {
  if (token.empty()) return absl::OkStatus();
  const auto found = by_rank_.find(rank);
  if (found != by_rank_.end() && found->second.token == token) {
    return absl::OkStatus();
  }
  return Fenced();
}

absl::Status Writers::CheckAny(std::string_view token) const {
  if (token.empty()) return absl::OkStatus();
  const bool is_held = std::any_of(
      by_rank_.begin(), by_rank_.end(),
      [token](const auto& rank) { return rank.second.token == token; });
  return is_held ? absl::OkStatus() : Fenced();
}

bool Writers::HasNonce(std::uint32_t rank, std::string_view nonce) const {
  const auto found = by_rank_.find(rank);
  return found != by_rank_.end() && found->second.nonce == nonce;
}

const std::string& Writers::Acquire(std::uint32_t rank,
                                    std::string_view nonce) {
  if (!HasNonce(rank, nonce)) {
    by_rank_[rank] = {.token = RandomHex(), .nonce = std::string(nonce)};
  }
  return by_rank_.at(rank).token;
}

void Writers::FenceAllBut(std::string_view token) {
  std::erase_if(by_rank_, [token](const auto& rank) {
    return token.empty() || rank.second.token != token;
  });
}

}  // namespace batchnorm::session
