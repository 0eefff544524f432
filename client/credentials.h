// Who the server has to be, and who the caller is.
#ifndef BATCHNORMD_CLIENT_CREDENTIALS_H_
#define BATCHNORMD_CLIENT_CREDENTIALS_H_

#include <string>

#include "absl/status/statusor.h"

namespace batchnorm::client {

// Texts, not paths. None set: no encryption, and no name for the caller. Unix
// sockets are never encrypted.
struct Credentials {
  // PEM certificates, of which one has signed the server's.
  std::string ca;
  // The caller's own certificate and key, PEM, for servers that ask for one.
  std::string certificate;
  std::string key;
  // Sent with every call as `authorization: Bearer TOKEN`.
  std::string token;

  bool encrypts() const { return !ca.empty() || !certificate.empty(); }
};

// Paths of the above; empty ones are left out.
struct CredentialFiles {
  std::string ca;
  std::string certificate;
  std::string key;
  std::string token;
};

// INVALID_ARGUMENT naming the file, never what is in it.
absl::StatusOr<Credentials> ReadCredentials(const CredentialFiles& files);

// INVALID_ARGUMENT `TOKEN_IN_PLAINTEXT` if a token would travel to `target` for
// others to read: neither encrypted nor within this machine.
absl::Status CheckSecrecy(const Credentials& credentials,
                          const std::string& target);

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_CREDENTIALS_H_
