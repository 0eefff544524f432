// Page tokens of lists: opaque to callers, they name the last session of the
// page before. Pure functions, safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_PAGE_TOKEN_H_
#define BATCHNORMD_SERVER_SESSION_PAGE_TOKEN_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace batchnorm::session {

inline constexpr std::int32_t kDefaultPageSize = 100;
inline constexpr std::int32_t kMaxPageSize = 1'000;

// The size in force. INVALID_ARGUMENT `BAD_PAGE` for a negative one.
absl::StatusOr<std::int32_t> PageSize(std::int32_t asked);

std::string MakePageToken(std::string_view last_name);

// The name a token holds; empty for the first page's, which is empty.
// INVALID_ARGUMENT `BAD_PAGE` for one that no page of this prefix gave.
absl::StatusOr<std::string> ParsePageToken(std::string_view token,
                                           std::string_view prefix);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_PAGE_TOKEN_H_
