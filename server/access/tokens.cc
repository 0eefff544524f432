#include "server/access/tokens.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/access/secret_file.h"

namespace batchnorm::access {
namespace {

constexpr std::size_t kLongestTenant = 63;
constexpr std::size_t kShortestToken = 16;
constexpr std::size_t kLongestToken = 1024;

// RFC 6750's b64token, loosely: what can stand in a header.
bool IsTokenLetter(char c) {
  return absl::ascii_isgraph(static_cast<unsigned char>(c));
}

}  // namespace

bool IsTenantName(std::string_view name) {
  return !name.empty() && name.size() <= kLongestTenant &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  c == '.' || c == '_' || c == '-';
         });
}

Tokens::Digest Tokens::DigestOf(std::string_view token) {
  Digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         digest.data());
  return digest;
}

std::string Tokens::Parse(std::string_view line, std::vector<Entry>& entries) {
  const std::vector<std::string> words =
      absl::StrSplit(absl::string_view(line.data(), line.size()),
                     absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (words.empty() || words.front().front() == '#') return "";
  if (words.size() < 2 || words.size() > 3) {
    return absl::StrCat("expected TENANT TOKEN [EXPIRY], got ", words.size(),
                        " words");
  }
  const std::string& token = words[1];
  if (!IsTenantName(words[0])) {
    return absl::StrCat("expected a tenant's name of 1 to ", kLongestTenant,
                        " of [A-Za-z0-9._-]");
  }
  if (token.size() < kShortestToken || token.size() > kLongestToken ||
      !std::all_of(token.begin(), token.end(), IsTokenLetter)) {
    return absl::StrCat("expected a token of ", kShortestToken, " to ",
                        kLongestToken, " printable characters, got ",
                        token.size(), " bytes");
  }
  Entry entry{.digest = DigestOf(token), .owner = {.tenant = words[0]}};
  std::string error;
  if (words.size() == 3 && !absl::ParseTime(absl::RFC3339_full, words[2],
                                            &entry.owner.expiry, &error)) {
    return "expected an expiry like 2027-01-31T00:00:00Z";
  }
  const bool is_known =
      std::any_of(entries.begin(), entries.end(),
                  [&](const Entry& e) { return e.digest == entry.digest; });
  if (is_known) return "expected a new token, got one of a line above";
  entries.push_back(std::move(entry));
  return "";
}

absl::StatusOr<Tokens> Tokens::Read(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  Tokens tokens;
  int line_number = 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++line_number;
    const std::string wrong =
        Parse(std::string_view(line.data(), line.size()), tokens.entries_);
    if (wrong.empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", line_number, ": ", wrong));
  }
  if (tokens.entries_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a token, got none"));
  }
  return tokens;
}

std::optional<Tokens::Owner> Tokens::Find(std::string_view token) const {
  const Digest digest = DigestOf(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {  // all of them, found or not
    const bool same =
        CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0;
    found = same ? &entry : found;
  }
  if (found == nullptr) return std::nullopt;
  return found->owner;
}

}  // namespace batchnorm::access
