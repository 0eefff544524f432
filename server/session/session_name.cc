#include "server/session/session_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

constexpr std::size_t kLongestName = 128;
constexpr char kTenantMark = '~';  // the last of ASCII

bool MayBeginSegment(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         c == '-';
}

bool IsSegment(std::string_view segment) {
  if (segment.empty() || !MayBeginSegment(segment.front())) return false;
  for (const char c : segment) {
    if (!MayBeginSegment(c) && c != '.') return false;
  }
  return true;
}

bool IsName(std::string_view name) {
  std::size_t slash = name.find('/');
  while (slash != std::string_view::npos) {
    if (!IsSegment(name.substr(0, slash))) return false;
    name.remove_prefix(slash + 1);
    slash = name.find('/');
  }
  return IsSegment(name);
}

}  // namespace

std::string StoredPrefix(std::string_view tenant) {
  if (tenant.empty()) return "";
  return kTenantMark + std::string(tenant) + '/';
}

std::string_view NameOf(std::string_view stored) {
  return HasTenant(stored) ? stored.substr(stored.find('/') + 1) : stored;
}

bool HasTenant(std::string_view stored) {
  return !stored.empty() && stored.front() == kTenantMark;
}

absl::Status CheckSessionName(std::string_view name) {
  if (name.size() > kLongestName) {
    return InvalidField("name", "BAD_NAME",
                        absl::StrCat("expected at most ", kLongestName,
                                     " bytes, got ", name.size()));
  }
  if (IsName(name)) return absl::OkStatus();
  return InvalidField("name", "BAD_NAME",
                      "expected segments of [A-Za-z0-9_-][A-Za-z0-9._-]* "
                      "joined by `/`, got " +
                          Quoted(name));
}

absl::Status SessionNotFound(std::string_view name, std::string_view field) {
  return MakeError(
      absl::StatusCode::kNotFound, "no session has the name " + Quoted(name),
      {.reason = "SESSION_NOT_FOUND", .field = std::string(field)});
}

}  // namespace batchnorm::session
