#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <climits>
#include <future>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "batchnorm/v1/batch_norm_service.grpc.pb.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/make_connection.h"
#include "client/retry_loop.h"
#include "google/protobuf/wrappers.pb.h"
#include "proto/wire/status_codec.h"

namespace batchnorm::client {
namespace {

using Stub = v1::BatchNormService::Stub;
template <typename Request, typename Response>
using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&,
                                      Response*);

// grpc.health.v1: its request is a string under field 1, its response an enum
// there. These standard messages have the same bytes.
using HealthRequest = google::protobuf::StringValue;
using HealthResponse = google::protobuf::Int32Value;
using HealthStub = grpc::TemplatedGenericStub<HealthRequest, HealthResponse>;
constexpr char kHealthMethod[] = "/grpc.health.v1.Health/Check";

grpc::ChannelArguments ChannelArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  // gRPC's own retries stop silently above a buffer of 256 KiB.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A lost server is dialled again at the pace of our retries.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  // A dead host says nothing: a call that hears nothing for 15 s is
  // UNAVAILABLE.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  return arguments;
}

std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(
    const ConnectionOptions& options) {
  const Credentials& credentials = options.credentials;
  if (!credentials.encrypts() || options.target.starts_with("unix:")) {
    return grpc::InsecureChannelCredentials();
  }
  return grpc::SslCredentials({.pem_root_certs = credentials.ca,
                               .pem_private_key = credentials.key,
                               .pem_cert_chain = credentials.certificate});
}

// Who calls, and on whose behalf. The token by hand, since gRPC's own way is
// closed to unencrypted channels: within one machine nobody listens.
void Sign(const ConnectionOptions& options, grpc::ClientContext& context) {
  const std::string& token = options.credentials.token;
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  if (!options.traceparent.empty()) {
    context.AddMetadata("traceparent", options.traceparent);
  }
}

// gRPC counts in 64 bits of nanoseconds since 1970: what is beyond has no end.
void SetTimeout(absl::Duration timeout, grpc::ClientContext& context) {
  if (timeout > absl::Hours(24 * 365)) return;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMicroseconds(timeout));
}

bool SaysReplayed(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find("replayed");
  return found != metadata.end() && found->second == "true";
}

// Protobuf counts a message in an int.
absl::Status CheckSize(const google::protobuf::Message& request) {
  const std::size_t bytes = request.ByteSizeLong();
  if (bytes <= INT_MAX) return absl::OkStatus();
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("expected at most ", INT_MAX,
                   " bytes, the most of one message, got ", bytes));
  return wire::FromGrpcStatus(wire::ToGrpcStatus(
      status, wire::ErrorDetail{.reason = "TOO_LARGE_FOR_UNARY"}));
}

// Only a step without a number is another one when it is sent again.
Repeat RepeatOf(const v1::ForwardRequest& request) {
  const bool takes_any = request.mode() == v1::MODE_TRAIN && !request.step();
  return takes_any ? Repeat::kUnsafe : Repeat::kSafe;
}

Health FromWire(std::int32_t serving_status) {
  switch (serving_status) {
    case 1:
      return Health::kServing;
    case 2:
      return Health::kNotServing;
    case 3:
      return Health::kServiceUnknown;
    default:
      return Health::kUnknown;
  }
}

// Begins with the first Read: even to connect may take long, and Cancel has to
// be able to end that.
class GrpcJoinStream final : public JoinStream {
 public:
  GrpcJoinStream(Stub& stub, v1::JoinRequest request,
                 const ConnectionOptions& options)
      : stub_(stub), request_(std::move(request)) {
    Sign(options, context_);
  }

  bool Read(v1::JoinResponse& response) override {
    if (reader_ == nullptr) reader_ = stub_.Join(&context_, request_);
    return reader_->Read(&response);
  }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override {
    return wire::FromGrpcStatus(reader_->Finish());
  }

 private:
  Stub& stub_;
  const v1::JoinRequest request_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::JoinResponse>> reader_;
};

// One that never begins.
class RefusedJoinStream final : public JoinStream {
 public:
  explicit RefusedJoinStream(absl::Status why) : why_(std::move(why)) {}

  bool Read(v1::JoinResponse& /*response*/) override { return false; }
  void Cancel() override {}
  absl::Status Finish() override { return why_; }

 private:
  const absl::Status why_;
};

// Immutable, hence thread-safe: gRPC's stubs and channels are.
class GrpcConnection final : public Connection {
 public:
  explicit GrpcConnection(ConnectionOptions options)
      : options_(std::move(options)),
        channel_(grpc::CreateCustomChannel(
            options_.target, ChannelCredentials(options_), ChannelArguments())),
        stub_(channel_),
        secrecy_(CheckSecrecy(options_.credentials, options_.target)) {}

  absl::StatusOr<v1::CreateSessionResponse> CreateSession(
      const v1::CreateSessionRequest& request) override {
    return Call(&Stub::CreateSession, request);
  }

  absl::StatusOr<v1::GetSessionResponse> GetSession(
      const v1::GetSessionRequest& request) override {
    return Call(&Stub::GetSession, request);
  }

  absl::StatusOr<v1::ListSessionsResponse> ListSessions(
      const v1::ListSessionsRequest& request) override {
    return Call(&Stub::ListSessions, request);
  }

  absl::StatusOr<v1::UpdateSessionResponse> UpdateSession(
      const v1::UpdateSessionRequest& request) override {
    return Call(&Stub::UpdateSession, request);
  }

  // Safe to repeat: the nonce in the request makes a retry the same writer.
  absl::StatusOr<v1::AcquireSessionResponse> AcquireSession(
      const v1::AcquireSessionRequest& request) override {
    return Call(&Stub::AcquireSession, request);
  }

  absl::StatusOr<v1::ExportSessionResponse> ExportSession(
      const v1::ExportSessionRequest& request) override {
    return Call(&Stub::ExportSession, request);
  }

  // Safe to repeat: a session that is already what the snapshot says is a
  // success, with or without `replace`.
  absl::StatusOr<v1::ImportSessionResponse> ImportSession(
      const v1::ImportSessionRequest& request) override {
    return Call(&Stub::ImportSession, request);
  }

  absl::StatusOr<v1::DeleteSessionResponse> DeleteSession(
      const v1::DeleteSessionRequest& request) override;

  absl::StatusOr<ForwardReply> Forward(
      const v1::ForwardRequest& request) override {
    return CallStep<ForwardReply>(&Stub::Forward, request, RepeatOf(request));
  }

  absl::StatusOr<v1::BackwardResponse> Backward(
      const v1::BackwardRequest& request) override {
    return Call(&Stub::Backward, request);
  }

  absl::StatusOr<SyncReply> Sync(const v1::SyncRequest& request) override {
    return CallStep<SyncReply>(&Stub::Sync, request, Repeat::kSafe);
  }

  absl::StatusOr<v1::EvaluateResponse> Evaluate(
      const v1::EvaluateRequest& request) override {
    return Call(&Stub::Evaluate, request);
  }

  std::unique_ptr<JoinStream> Join(const v1::JoinRequest& request) override {
    if (!secrecy_.ok()) return std::make_unique<RefusedJoinStream>(secrecy_);
    return std::make_unique<GrpcJoinStream>(stub_, request, options_);
  }

  absl::StatusOr<Health> CheckHealth(const std::string& service) override;

 private:
  Attempts NewAttempts(Repeat repeat) const {
    return {options_.retry, options_.environment, options_.timeout, repeat};
  }

  // One attempt. `context` is new.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Try(Method<Request, Response> method,
                               const Request& request, absl::Duration timeout,
                               grpc::ClientContext& context) {
    if (!secrecy_.ok()) return secrecy_;
    Sign(options_, context);
    SetTimeout(timeout, context);
    Response response;
    const grpc::Status status = (stub_.*method)(&context, request, &response);
    if (!status.ok()) return wire::FromGrpcStatus(status);
    return response;
  }

  // A call that may be repeated.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<Request, Response> method,
                                const Request& request) {
    absl::Status size = CheckSize(request);
    if (!size.ok()) return size;
    return RetryLoop(NewAttempts(Repeat::kSafe), [&](absl::Duration timeout) {
      grpc::ClientContext context;
      return Try(method, request, timeout, context);
    });
  }

  // A call that takes a step, or replays it.
  template <typename Reply, typename Request, typename Response>
  absl::StatusOr<Reply> CallStep(Method<Request, Response> method,
                                 const Request& request, Repeat repeat) {
    absl::Status size = CheckSize(request);
    if (!size.ok()) return size;
    return RetryLoop(NewAttempts(repeat),
                     [&](absl::Duration timeout) -> absl::StatusOr<Reply> {
                       grpc::ClientContext context;
                       auto response = Try(method, request, timeout, context);
                       if (!response.ok()) return response.status();
                       return Reply{*std::move(response),
                                    SaysReplayed(context)};
                     });
  }

  absl::StatusOr<Health> TryHealth(const HealthRequest& request,
                                   absl::Duration timeout);

  const ConnectionOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  Stub stub_;
  const absl::Status secrecy_;  // whether the token may be sent
};

absl::StatusOr<v1::DeleteSessionResponse> GrpcConnection::DeleteSession(
    const v1::DeleteSessionRequest& request) {
  bool may_be_deleted = false;
  return RetryLoop(
      NewAttempts(Repeat::kSafe),
      [&](absl::Duration timeout) -> absl::StatusOr<v1::DeleteSessionResponse> {
        grpc::ClientContext context;
        auto response = Try(&Stub::DeleteSession, request, timeout, context);
        if (may_be_deleted && Reason(response.status()) == "SESSION_NOT_FOUND")
          return v1::DeleteSessionResponse();
        may_be_deleted |= IsOutcomeUnknown(response.status());
        return response;
      });
}

absl::StatusOr<Health> GrpcConnection::TryHealth(const HealthRequest& request,
                                                 absl::Duration timeout) {
  grpc::ClientContext context;
  SetTimeout(timeout, context);
  HealthResponse response;
  std::promise<grpc::Status> done;
  HealthStub(channel_).UnaryCall(
      &context, kHealthMethod, grpc::StubOptions(), &request, &response,
      [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  // So answers a health service that serves others.
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return Health::kServiceUnknown;
  }
  if (!status.ok()) return wire::FromGrpcStatus(status);
  return FromWire(response.value());
}

absl::StatusOr<Health> GrpcConnection::CheckHealth(const std::string& service) {
  HealthRequest request;
  request.set_value(service);
  return RetryLoop(NewAttempts(Repeat::kSafe), [&](absl::Duration timeout) {
    return TryHealth(request, timeout);
  });
}

}  // namespace

std::shared_ptr<Connection> MakeConnection(ConnectionOptions options) {
  return std::make_shared<GrpcConnection>(std::move(options));
}

}  // namespace batchnorm::client
