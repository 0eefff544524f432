// A real server in this process, on free loopback ports, and real stubs to it.
#ifndef BATCHNORMD_TESTS_SERVICE_RUNNING_SERVER_H_
#define BATCHNORMD_TESTS_SERVICE_RUNNING_SERVER_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "batchnorm/v1/batch_norm_service.grpc.pb.h"
#include "server/rpc/server.h"

namespace batchnorm::service_test {

// Listens on localhost:0 only.
rpc::ServerOptions LoopbackOptions();

// A connection of its own, with message limits raised.
std::shared_ptr<grpc::Channel> Dial(const std::string& address);

// A call's context with a deadline, so that no test hangs.
std::unique_ptr<grpc::ClientContext> NewContext();

// Fails the test if the server does not start.
class RunningServer {
 public:
  explicit RunningServer(rpc::ServerOptions options = LoopbackOptions());

  rpc::Server& server() { return *server_; }
  rpc::ServerCounters counters() const { return server_->counters(); }
  const std::string& address() const { return server_->addresses().front(); }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::BatchNormService::Stub& stub() const { return *stub_; }

  // These add an expectation that the call succeeds.
  v1::Session CreateSession(const std::string& name,
                            const v1::SessionConfig& config) const;
  v1::Session GetSession(const std::string& name) const;
  v1::ForwardResponse Forward(const v1::ForwardRequest& request) const;
  v1::BackwardResponse Backward(const v1::BackwardRequest& request) const;
  v1::EvaluateResponse Evaluate(const v1::EvaluateRequest& request) const;

  // These return what the call ended with.
  grpc::Status StatusOf(const v1::CreateSessionRequest& request) const;
  grpc::Status StatusOf(const v1::GetSessionRequest& request) const;
  grpc::Status StatusOf(const v1::ListSessionsRequest& request) const;
  grpc::Status StatusOf(const v1::UpdateSessionRequest& request) const;
  grpc::Status StatusOf(const v1::DeleteSessionRequest& request) const;
  grpc::Status StatusOf(const v1::ForwardRequest& request) const;
  grpc::Status StatusOf(const v1::BackwardRequest& request) const;
  grpc::Status StatusOf(const v1::EvaluateRequest& request) const;

 private:
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::BatchNormService::Stub> stub_;
};

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_RUNNING_SERVER_H_
