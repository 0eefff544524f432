// Who has which token: lines of a tenant's name, its token, and, if it shall
// expire, when (RFC 3339). A tenant may have several tokens, to change them.
//
//   # the vision group
//   vision  Zk1u3pX7b0mVt5Rq
//   speech  f81b2e4690c5d73a  2027-01-31T00:00:00Z
//
// Tokens are kept as SHA-256 digests only. Immutable, hence thread-safe.
#ifndef BATCHNORMD_SERVER_ACCESS_TOKENS_H_
#define BATCHNORMD_SERVER_ACCESS_TOKENS_H_

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace batchnorm::access {

class Tokens {
 public:
  struct Owner {
    std::string tenant;
    absl::Time expiry = absl::InfiniteFuture();

    bool operator==(const Owner&) const = default;
  };

  // INVALID_ARGUMENT naming file and line, but nothing of what is there.
  static absl::StatusOr<Tokens> Read(const std::string& path);

  // Whose token it is, if anybody's; expired ones have their owners, too. Takes
  // the same time whatever of the token is right.
  std::optional<Owner> Find(std::string_view token) const;

  std::size_t size() const { return entries_.size(); }
  bool operator==(const Tokens&) const = default;

 private:
  using Digest = std::array<unsigned char, 32>;
  struct Entry {
    Digest digest;
    Owner owner;

    bool operator==(const Entry&) const = default;
  };

  static Digest DigestOf(std::string_view token);
  // What is wrong, or empty.
  static std::string Parse(std::string_view line, std::vector<Entry>& entries);

  std::vector<Entry> entries_;
};

// Whether a tenant may be called so: 1 to 63 of [A-Za-z0-9._-].
bool IsTenantName(std::string_view name);

}  // namespace batchnorm::access

#endif  // BATCHNORMD_SERVER_ACCESS_TOKENS_H_
