// Addresses to listen on: HOST:PORT and unix:PATH.
#ifndef BATCHNORMD_SERVER_RPC_LISTENER_H_
#define BATCHNORMD_SERVER_RPC_LISTENER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace batchnorm::rpc {

// INVALID_ARGUMENT for an address of neither form.
absl::Status CheckForm(const std::string& address);

bool IsUnix(std::string_view address);
// Whether only this machine can reach a HOST:PORT.
bool IsLoopback(std::string_view address);

// Adds one listener an address; after BuildAndStart it knows what was bound.
// Outlives the server. Thread-compatible.
class Listeners {
 public:
  // INVALID_ARGUMENT for an address of neither form, UNAVAILABLE for a Unix
  // socket that another process serves (gRPC would take it away silently).
  absl::Status Add(const std::string& address,
                   const std::shared_ptr<grpc::ServerCredentials>& credentials,
                   grpc::ServerBuilder& builder);

  // UNAVAILABLE naming the first address that is not bound.
  absl::Status CheckBound() const;

  // What clients dial.
  std::vector<std::string> addresses() const;

 private:
  struct Listener {
    std::string address;
    // gRPC itself does not keep them, but asks them at every handshake.
    std::shared_ptr<grpc::ServerCredentials> credentials;
    int port = 0;  // gRPC writes it; 1 for Unix sockets
  };

  std::deque<Listener> listeners_;  // a deque: gRPC holds pointers to ports
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_LISTENER_H_
