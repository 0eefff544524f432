// How a program reaches a server.
#ifndef BATCHNORMD_CLIENT_MAKE_CONNECTION_H_
#define BATCHNORMD_CLIENT_MAKE_CONNECTION_H_

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/credentials.h"
#include "client/retry_policy.h"

namespace batchnorm::client {

class Connection;  // connection.h

struct ConnectionOptions {
  // "host:port", "[::1]:50051" or "unix:/absolute/path".
  std::string target = "localhost:50051";
  // By default neither encrypted nor authenticated. A token that others could
  // read on its way is not sent: calls are INVALID_ARGUMENT
  // `TOKEN_IN_PLAINTEXT`.
  Credentials credentials = {};
  // Sent with every call, so that the server's log can be joined with the
  // caller's traces: W3C Trace Context. Empty: none.
  std::string traceparent = {};
  // Each attempt of a call ends after this; the whole call, with all attempts,
  // after retry.total_timeout.
  absl::Duration timeout = absl::Seconds(60);
  RetryPolicy retry = {};
  // Where retries take time and chance from; tests put their own.
  RetryEnvironment environment = {};
};

// A connection over gRPC, thread-safe, without a limit on message sizes beside
// protobuf's own 2 GiB. Never fails and never waits: the connection is made by
// the first call, and made again whenever it is lost.
std::shared_ptr<Connection> MakeConnection(ConnectionOptions options = {});

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_MAKE_CONNECTION_H_
