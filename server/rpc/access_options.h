// Files that say who may call.
#ifndef BATCHNORMD_SERVER_RPC_ACCESS_OPTIONS_H_
#define BATCHNORMD_SERVER_RPC_ACCESS_OPTIONS_H_

#include <string>

#include "absl/time/time.h"
#include "server/access/certificates.h"

namespace batchnorm::rpc {

struct AccessOptions {
  access::CertificateFiles tls;  // unset: plaintext
  std::string token_file;        // empty: no token is needed
  // Files are looked at so often; what is new serves within two periods.
  absl::Duration reload_period = absl::Seconds(1);
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_ACCESS_OPTIONS_H_
