#include "server/session/page_token.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/session_name.h"
#include "server/session/text.h"

namespace batchnorm::session {

absl::StatusOr<std::int32_t> PageSize(std::int32_t asked) {
  if (asked < 0) {
    return InvalidField("page_size", "BAD_PAGE",
                        absl::StrCat("expected at least 0, got ", asked));
  }
  return asked == 0 ? kDefaultPageSize : std::min(asked, kMaxPageSize);
}

std::string MakePageToken(std::string_view last_name) {
  return absl::WebSafeBase64Escape(
      absl::string_view(last_name.data(), last_name.size()));
}

absl::StatusOr<std::string> ParsePageToken(std::string_view token,
                                           std::string_view prefix) {
  if (token.empty()) return std::string();
  std::string name;
  const bool decoded = absl::WebSafeBase64Unescape(
      absl::string_view(token.data(), token.size()), &name);
  if (decoded && CheckSessionName(name).ok() && name.starts_with(prefix)) {
    return name;
  }
  return InvalidField(
      "page_token", "BAD_PAGE",
      "expected the next_page_token of a list with the same prefix, got " +
          Quoted(token));
}

}  // namespace batchnorm::session
