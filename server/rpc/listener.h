// Addresses to listen on: HOST:PORT and unix:PATH.
#ifndef BATCHNORMD_SERVER_RPC_LISTENER_H_
#define BATCHNORMD_SERVER_RPC_LISTENER_H_

#include <grpcpp/server_builder.h>

#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace batchnorm::rpc {

// Adds one listener an address; after BuildAndStart it knows what was bound.
// Thread-compatible.
class Listeners {
 public:
  // INVALID_ARGUMENT for an address of neither form, UNAVAILABLE for a Unix
  // socket that another process serves (gRPC would take it away silently).
  absl::Status Add(const std::string& address, grpc::ServerBuilder& builder);

  // UNAVAILABLE naming the first address that is not bound.
  absl::Status CheckBound() const;

  // What clients dial.
  std::vector<std::string> addresses() const;

 private:
  struct Listener {
    std::string address;
    int port = 0;  // gRPC writes it; 1 for Unix sockets
  };

  std::deque<Listener> listeners_;  // a deque: gRPC holds pointers to ports
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_LISTENER_H_
