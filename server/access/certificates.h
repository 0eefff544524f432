// What a TLS server shows and asks for, from PEM files.
#ifndef BATCHNORMD_SERVER_ACCESS_CERTIFICATES_H_
#define BATCHNORMD_SERVER_ACCESS_CERTIFICATES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace batchnorm::access {

// Paths; an empty client_ca asks clients for no certificate.
struct CertificateFiles {
  std::string chain;  // the server's certificate, then those that signed it
  std::string key;    // without a passphrase
  std::string client_ca;

  bool is_set() const { return !chain.empty(); }
};

// The files' texts, found to be of use: each parses, the key is that of the
// first certificate, and that is valid now.
struct Certificates {
  std::string chain;
  std::string key;
  std::string client_ca;
  absl::Time expiry;  // of the first certificate of the chain

  bool operator==(const Certificates&) const = default;
};

// INVALID_ARGUMENT naming the file and what is wrong with it.
absl::StatusOr<Certificates> ReadCertificates(const CertificateFiles& files,
                                              absl::Time now);

}  // namespace batchnorm::access

#endif  // BATCHNORMD_SERVER_ACCESS_CERTIFICATES_H_
