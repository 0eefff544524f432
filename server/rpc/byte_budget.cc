#include "server/rpc/byte_budget.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

// About what a call of some 10 MB takes: soon enough to find room.
constexpr absl::Duration kRetryAfter = absl::Milliseconds(100);

absl::Status TooManyBytes(std::int64_t bytes, std::int64_t taken,
                          std::int64_t limit) {
  return session::MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the server works on ", taken, " bytes of requests; this ",
                   "call's ", bytes, " would pass its limit of ", limit),
      {.reason = "TOO_MANY_BYTES_IN_FLIGHT",
       .metadata = {{"limit", absl::StrCat(limit)}},
       .retry_after = kRetryAfter});
}

}  // namespace

absl::Status ByteBudget::Acquire(std::int64_t bytes) {
  std::int64_t taken = taken_.load();
  do {
    if (taken > 0 && bytes > limit_ - taken) {
      return TooManyBytes(bytes, taken, limit_);
    }
  } while (!taken_.compare_exchange_weak(taken, taken + bytes));
  return absl::OkStatus();
}

void ByteBudget::Release(std::int64_t bytes) { taken_.fetch_sub(bytes); }

std::int64_t ByteBudget::taken() const { return taken_.load(); }

}  // namespace batchnorm::rpc
