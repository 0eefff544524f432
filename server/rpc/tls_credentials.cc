#include "server/rpc/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <string>
#include <utility>

namespace batchnorm::rpc {
namespace {

// gRPC's own reloading (its file watcher) takes whatever is in the files. Its
// core lets the server be asked at each handshake instead, but has no C++ for
// it; this is that.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  explicit TlsCredentials(CertificateSource source)
      : source_(std::move(source)) {
    const auto request =
        source_()->client_ca.empty()
            ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
            : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            request, &TlsCredentials::Fetch, this));
  }
  ~TlsCredentials() override { grpc_server_credentials_release(credentials_); }

  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  // Tokens are looked at where calls are.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/)
      override {}

 private:
  int AddPortToServer(const std::string& address,
                      grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // gRPC makes these calls one at a time.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto* const credentials = static_cast<TlsCredentials*>(self);
    std::shared_ptr<const access::Certificates> now = credentials->source_();
    if (now == credentials->in_use_) {
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    const grpc_ssl_pem_key_cert_pair pair = {now->key.c_str(),
                                             now->chain.c_str()};
    // gRPC insists on some, also where no client is asked for a certificate.
    const std::string& roots =
        now->client_ca.empty() ? now->chain : now->client_ca;
    *config =
        grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    credentials->in_use_ = std::move(now);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const CertificateSource source_;
  std::shared_ptr<const access::Certificates> in_use_;
  grpc_server_credentials* credentials_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(
    CertificateSource source) {
  return std::make_shared<TlsCredentials>(std::move(source));
}

}  // namespace batchnorm::rpc
