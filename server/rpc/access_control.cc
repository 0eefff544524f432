#include "server/rpc/access_control.h"

#include <grpc/grpc_security_constants.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "server/access/secret_file.h"
#include "server/rpc/listener.h"
#include "server/rpc/tls_credentials.h"
#include "server/session/error.h"
#include "spdlog/spdlog.h"

namespace batchnorm::rpc {
namespace {

constexpr absl::string_view kScheme = "bearer ";

bool IsOpenToOthers(const std::string& address) {
  return !IsUnix(address) && !IsLoopback(address);
}

absl::Status Unauthenticated(const std::string& reason,
                             const std::string& field,
                             const std::string& message) {
  return session::MakeError(absl::StatusCode::kUnauthenticated,
                            absl::StrCat(field, ": ", message),
                            {.reason = reason, .field = field});
}

// Never says what is in a file.
template <typename Value>
typename access::Reloaded<Value>::Report ReportOf(const std::string& what) {
  return [what](const absl::Status& status) {
    if (status.ok()) {
      spdlog::info("{}: read again, in force", what);
    } else {
      spdlog::error("{}: the new ones are damaged, the old ones stay: {}", what,
                    std::string(status.message()));
    }
  };
}

absl::Status CheckSecrecy(const AccessOptions& options,
                          const std::vector<std::string>& addresses) {
  if (options.token_file.empty() || options.tls.is_set()) {
    return absl::OkStatus();
  }
  for (const std::string& address : addresses) {
    if (!IsOpenToOthers(address)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--tokens without --tls-cert would have tokens travel to ", address,
        " for others to read; encrypt, or listen on loopback or a Unix "
        "socket"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AccessControl>> AccessControl::Start(
    const AccessOptions& options, const std::vector<std::string>& addresses) {
  absl::Status secret = CheckSecrecy(options, addresses);
  if (!secret.ok()) return secret;
  if (options.tls.chain.empty() != options.tls.key.empty() ||
      (!options.tls.client_ca.empty() && !options.tls.is_set())) {
    return absl::InvalidArgumentError(
        "--tls-cert, --tls-key: expected both or none, and --tls-client-ca "
        "with them only");
  }
  std::optional<access::Certificates> certificates;
  if (options.tls.is_set()) {
    auto read = access::ReadCertificates(options.tls, absl::Now());
    if (!read.ok()) return read.status();
    certificates = *std::move(read);
  }
  std::optional<access::Tokens> tokens;
  if (!options.token_file.empty()) {
    auto read = access::Tokens::Read(options.token_file);
    if (!read.ok()) return read.status();
    tokens = *std::move(read);
  }
  return std::make_unique<AccessControl>(options, std::move(certificates),
                                         std::move(tokens));
}

AccessControl::AccessControl(const AccessOptions& options,
                             std::optional<access::Certificates> certificates,
                             std::optional<access::Tokens> tokens)
    : asks_for_certificates_(!options.tls.client_ca.empty()) {
  if (certificates.has_value()) {
    certificates_ = std::make_unique<access::Reloaded<access::Certificates>>(
        *std::move(certificates),
        [files = options.tls] {
          return access::ReadCertificates(files, absl::Now());
        },
        ReportOf<access::Certificates>("certificates"));
  }
  if (tokens.has_value()) {
    tokens_ = std::make_unique<access::Reloaded<access::Tokens>>(
        *std::move(tokens),
        [path = options.token_file] { return access::Tokens::Read(path); },
        ReportOf<access::Tokens>("tokens"));
  }
  if (certificates_ != nullptr || tokens_ != nullptr) {
    ticker_ =
        std::make_unique<Ticker>(options.reload_period, [this] { Tick(); });
  }
}

void AccessControl::Tick() {
  if (certificates_ != nullptr) certificates_->Tick();
  if (tokens_ != nullptr) tokens_->Tick();
}

std::shared_ptr<grpc::ServerCredentials> AccessControl::CredentialsFor(
    const std::string& address) const {
  if (certificates_ == nullptr || IsUnix(address)) {
    return grpc::InsecureServerCredentials();
  }
  return MakeTlsCredentials(
      [certificates = certificates_.get()] { return certificates->value(); });
}

absl::StatusOr<std::string> AccessControl::TenantOf(
    const grpc::ServerContextBase& context) const {
  if (tokens_ != nullptr) return TenantOfToken(context);
  if (!asks_for_certificates_) return "";
  const auto names =
      context.auth_context()->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
  // A Unix socket's callers have none, and the connection is not encrypted.
  if (names.empty() && !context.auth_context()->IsPeerAuthenticated()) {
    return "";
  }
  std::string name =
      names.size() == 1 ? std::string(names[0].data(), names[0].size()) : "";
  if (access::IsTenantName(name)) return name;
  return Unauthenticated("CERTIFICATE_NAMES_NO_TENANT", "certificate",
                         "expected a common name of 1 to 63 of [A-Za-z0-9._-], "
                         "which is the tenant, got another or none");
}

absl::StatusOr<std::string> AccessControl::TenantOfToken(
    const grpc::ServerContextBase& context) const {
  const auto& metadata = context.client_metadata();
  const auto header = metadata.find("authorization");
  const absl::string_view value =
      header == metadata.end()
          ? absl::string_view()
          : absl::string_view(header->second.data(), header->second.size());
  if (!absl::StartsWithIgnoreCase(value, kScheme)) {
    return Unauthenticated("TOKEN_MISSING", "authorization",
                           "expected `Bearer TOKEN`, got none");
  }
  const absl::string_view token =
      absl::StripAsciiWhitespace(value.substr(kScheme.size()));
  const auto owner =
      tokens_->value()->Find(std::string_view(token.data(), token.size()));
  if (!owner.has_value()) {
    return Unauthenticated("TOKEN_WRONG", "authorization",
                           "expected a token that this server knows, got "
                           "another");
  }
  if (owner->expiry <= absl::Now()) {
    return Unauthenticated("TOKEN_EXPIRED", "authorization",
                           "expected a token that is still good, got one that "
                           "has expired");
  }
  return owner->tenant;
}

access::ReloadCounts AccessControl::reloads() const {
  access::ReloadCounts sum;
  const auto add = [&sum](const access::ReloadCounts& counts) {
    sum.done += counts.done;
    sum.failed += counts.failed;
  };
  if (certificates_ != nullptr) add(certificates_->counts());
  if (tokens_ != nullptr) add(tokens_->counts());
  return sum;
}

std::vector<std::string> UnsafeSettings(
    const AccessOptions& options, const std::vector<std::string>& addresses) {
  std::vector<std::string> unsafe;
  for (const std::string& address : addresses) {
    if (!IsOpenToOthers(address)) continue;
    if (!options.tls.is_set()) {
      unsafe.push_back(absl::StrCat(
          "--listen ", address,
          " without --tls-cert: neither encrypted nor authenticated; whoever "
          "reaches it reads and changes every session"));
    } else if (options.token_file.empty() && options.tls.client_ca.empty()) {
      unsafe.push_back(absl::StrCat(
          "--listen ", address,
          " without --tokens or --tls-client-ca: encrypted, but whoever "
          "reaches it reads and changes every session"));
    }
  }
  for (const auto& [flag, path] : {std::pair{"--tls-key", options.tls.key},
                                   std::pair{"--tokens", options.token_file}}) {
    if (path.empty() || !access::IsReadableByOthers(path)) continue;
    unsafe.push_back(absl::StrCat(flag, " ", path,
                                  ": every user of this machine may read it"));
  }
  return unsafe;
}

}  // namespace batchnorm::rpc
