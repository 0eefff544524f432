#include "tests/service/running_server.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>

#include <chrono>
#include <utility>

namespace batchnorm::service_test {
namespace {

constexpr std::chrono::seconds kDeadline(60);

using Stub = v1::BatchNormService::Stub;

template <typename Request, typename Reply>
grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*,
                                               const Request&, Reply*),
                  Stub& stub, const Request& request, Reply& reply) {
  const std::unique_ptr<grpc::ClientContext> context = NewContext();
  return (stub.*method)(context.get(), request, &reply);
}

// The reply of a call that is expected to succeed.
template <typename Request, typename Reply>
Reply Expect(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                          Reply*),
             Stub& stub, const Request& request) {
  Reply reply;
  const grpc::Status status = Call(method, stub, request, reply);
  EXPECT_TRUE(status.ok()) << status.error_code() << ": "
                           << status.error_message();
  return reply;
}

template <typename Request, typename Reply>
grpc::Status Try(grpc::Status (Stub::*method)(grpc::ClientContext*,
                                              const Request&, Reply*),
                 Stub& stub, const Request& request) {
  Reply reply;
  return Call(method, stub, request, reply);
}

}  // namespace

rpc::ServerOptions LoopbackOptions() {
  rpc::ServerOptions options;
  options.listen = {"localhost:0"};
  return options;
}

std::shared_ptr<grpc::Channel> Dial(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

std::unique_ptr<grpc::ClientContext> NewContext() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + kDeadline);
  return context;
}

RunningServer::RunningServer(rpc::ServerOptions options) {
  absl::StatusOr<std::unique_ptr<rpc::Server>> server =
      rpc::Server::Start(std::move(options));
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();
  }
  server_ = *std::move(server);
  channel_ = Dial(address());
  stub_ = v1::BatchNormService::NewStub(channel_);
}

v1::Session RunningServer::CreateSession(
    const std::string& name, const v1::SessionConfig& config) const {
  v1::CreateSessionRequest request;
  request.set_name(name);
  *request.mutable_config() = config;
  return Expect(&Stub::CreateSession, *stub_, request).session();
}

v1::Session RunningServer::GetSession(const std::string& name) const {
  v1::GetSessionRequest request;
  request.set_name(name);
  return Expect(&Stub::GetSession, *stub_, request).session();
}

v1::ForwardResponse RunningServer::Forward(
    const v1::ForwardRequest& request) const {
  return Expect(&Stub::Forward, *stub_, request);
}

v1::BackwardResponse RunningServer::Backward(
    const v1::BackwardRequest& request) const {
  return Expect(&Stub::Backward, *stub_, request);
}

v1::EvaluateResponse RunningServer::Evaluate(
    const v1::EvaluateRequest& request) const {
  return Expect(&Stub::Evaluate, *stub_, request);
}

grpc::Status RunningServer::StatusOf(
    const v1::CreateSessionRequest& request) const {
  return Try(&Stub::CreateSession, *stub_, request);
}

grpc::Status RunningServer::StatusOf(
    const v1::GetSessionRequest& request) const {
  return Try(&Stub::GetSession, *stub_, request);
}

grpc::Status RunningServer::StatusOf(
    const v1::ListSessionsRequest& request) const {
  return Try(&Stub::ListSessions, *stub_, request);
}

grpc::Status RunningServer::StatusOf(
    const v1::UpdateSessionRequest& request) const {
  return Try(&Stub::UpdateSession, *stub_, request);
}

grpc::Status RunningServer::StatusOf(
    const v1::DeleteSessionRequest& request) const {
  return Try(&Stub::DeleteSession, *stub_, request);
}

grpc::Status RunningServer::StatusOf(const v1::ForwardRequest& request) const {
  return Try(&Stub::Forward, *stub_, request);
}

grpc::Status RunningServer::StatusOf(const v1::BackwardRequest& request) const {
  return Try(&Stub::Backward, *stub_, request);
}

grpc::Status RunningServer::StatusOf(const v1::EvaluateRequest& request) const {
  return Try(&Stub::Evaluate, *stub_, request);
}

}  // namespace batchnorm::service_test
