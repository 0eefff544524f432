// Names of sessions. Functions are safe from any thread.
//
//   name    = segment *( "/" segment )         1 to 128 bytes
//   segment = [A-Za-z0-9_-] *[A-Za-z0-9._-]
//
// So a name is printable and no segment begins with a dot: it can stand in a
// URL, a log line or a metric label as it is.
#ifndef BATCHNORMD_SERVER_SESSION_SESSION_NAME_H_
#define BATCHNORMD_SERVER_SESSION_SESSION_NAME_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace batchnorm::session {

// Where a tenant's session is stored: `~tenant/name`, which is no session's
// name, and comes after all of them. Sessions of the tenant without a name are
// stored under their own. A tenant's name has no `/`.
std::string StoredPrefix(std::string_view tenant);

// The session's name, of where it is stored: what callers are told.
std::string_view NameOf(std::string_view stored);

// Whether it is stored for a tenant with a name.
bool HasTenant(std::string_view stored);

// INVALID_ARGUMENT `BAD_NAME`, naming "name".
absl::Status CheckSessionName(std::string_view name);

// NOT_FOUND `SESSION_NOT_FOUND`, naming `field`; the same text for a name that
// never was, one that was deleted, one that no session can have, and one of
// another tenant.
absl::Status SessionNotFound(std::string_view name, std::string_view field);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SESSION_NAME_H_
