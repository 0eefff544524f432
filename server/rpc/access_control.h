// Who may call: TLS, client certificates, bearer tokens, and the tenant that
// these name.
//
//   token file   a call needs `authorization: Bearer TOKEN`; the token's line
//                names the tenant
//   client CA    a connection needs a certificate; without a token file, its
//                common name is the tenant
//   neither      everybody is the tenant without a name
//
// Unix sockets are never encrypted, and show no certificates: who may open one
// is the file system's business. Health and reflection need no token.
// Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_ACCESS_CONTROL_H_
#define BATCHNORMD_SERVER_RPC_ACCESS_CONTROL_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/access/certificates.h"
#include "server/access/reloaded.h"
#include "server/access/tokens.h"
#include "server/rpc/access_options.h"
#include "server/rpc/ticker.h"

namespace batchnorm::rpc {

class AccessControl {
 public:
  // INVALID_ARGUMENT if a file is of no use, or if tokens would travel over one
  // of `addresses` for others to read.
  static absl::StatusOr<std::unique_ptr<AccessControl>> Start(
      const AccessOptions& options, const std::vector<std::string>& addresses);

  AccessControl(const AccessOptions& options,
                std::optional<access::Certificates> certificates,
                std::optional<access::Tokens> tokens);

  std::shared_ptr<grpc::ServerCredentials> CredentialsFor(
      const std::string& address) const;

  // Whose call it is; "" is the tenant without a name. UNAUTHENTICATED
  // `TOKEN_MISSING`, `TOKEN_WRONG`, `TOKEN_EXPIRED`,
  // `CERTIFICATE_NAMES_NO_TENANT`.
  absl::StatusOr<std::string> TenantOf(
      const grpc::ServerContextBase& context) const;

  // Of certificates and tokens together.
  access::ReloadCounts reloads() const;

 private:
  absl::StatusOr<std::string> TenantOfToken(
      const grpc::ServerContextBase& context) const;
  void Tick();

  std::unique_ptr<access::Reloaded<access::Certificates>> certificates_;
  std::unique_ptr<access::Reloaded<access::Tokens>> tokens_;
  const bool asks_for_certificates_;
  std::unique_ptr<Ticker> ticker_;  // last: it uses the others
};

// Settings that let in more people than an operator may think, each by its
// flag, in words for a log.
std::vector<std::string> UnsafeSettings(
    const AccessOptions& options, const std::vector<std::string>& addresses);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_ACCESS_CONTROL_H_
