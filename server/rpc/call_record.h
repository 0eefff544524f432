// What is told of a call that has ended, to whoever counts or logs.
#ifndef BATCHNORMD_SERVER_RPC_CALL_RECORD_H_
#define BATCHNORMD_SERVER_RPC_CALL_RECORD_H_

#include <grpcpp/server_context.h>

#include <cstdint>
#include <functional>
#include <string_view>

#include "absl/time/time.h"

namespace batchnorm::rpc {

// Views are good while the observer runs.
struct CallRecord {
  std::string_view method;  // "Forward"
  std::string_view code;    // "OK", "INVALID_ARGUMENT"
  std::string_view error;   // what the caller was told, if it failed
  absl::Duration duration;  // from the request's arrival to the answer
  std::int64_t request_bytes = 0;
  std::int64_t reply_bytes = 0;
  std::string_view tenant;       // empty: the one without a name
  std::string_view traceparent;  // W3C Trace Context, if the caller sent one
};

// Called by the threads that answer, at the same time; not to keep them.
using CallObserver = std::function<void(const CallRecord&)>;

// The caller's trace, as it sent it; empty if it sent none in the right form.
std::string_view TraceparentOf(const grpc::ServerContextBase& context);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_CALL_RECORD_H_
