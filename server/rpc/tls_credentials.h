// TLS on gRPC's listeners, with certificates that change while it serves.
#ifndef BATCHNORMD_SERVER_RPC_TLS_CREDENTIALS_H_
#define BATCHNORMD_SERVER_RPC_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <functional>
#include <memory>

#include "server/access/certificates.h"

namespace batchnorm::rpc {

// Asked at every handshake, from any thread, until the server is gone.
using CertificateSource =
    std::function<std::shared_ptr<const access::Certificates>()>;

// Clients have to show a certificate if the source's first answer has a
// client_ca.
std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(
    CertificateSource source);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_TLS_CREDENTIALS_H_
