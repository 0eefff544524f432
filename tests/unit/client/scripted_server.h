// A gRPC server that fails as told, to see what a connection does about it.
// No batch norm in it: replies are empty but for what a test puts there.
#ifndef BATCHNORMD_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_
#define BATCHNORMD_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "batchnorm/v1/batch_norm_service.grpc.pb.h"
#include "proto/wire/status_codec.h"

namespace batchnorm::client {

// Thread-safe.
class ScriptedServer final : private v1::BatchNormService::Service {
 public:
  explicit ScriptedServer(const std::string& address = "localhost:0") {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = address == "localhost:0" ? "localhost:" + std::to_string(port)
                                        : address;
  }

  ~ScriptedServer() override {
    Release();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  const std::string& address() const { return address_; }
  grpc::Server& grpc_server() { return *server_; }

  // The next calls fail so, one after another; those after succeed.
  void FailWith(std::vector<grpc::Status> failures) {
    const std::lock_guard lock(mutex_);
    failures_.assign(failures.begin(), failures.end());
  }

  // From now on calls wait until Release.
  void Hang() {
    const std::lock_guard lock(mutex_);
    hangs_ = true;
  }

  void Release() {
    const std::lock_guard lock(mutex_);
    hangs_ = false;
    released_.notify_all();
  }

  void SayReplayed() { replayed_ = true; }
  void ReplyWithY(std::size_t bytes) { y_bytes_ = bytes; }

  // The requests that arrived, serialized.
  std::vector<std::string> received() const {
    const std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  using Context = grpc::ServerContext;

  grpc::Status Next(const google::protobuf::Message* request) {
    std::unique_lock lock(mutex_);
    received_.push_back(request->SerializeAsString());
    released_.wait(lock, [this] { return !hangs_; });
    if (failures_.empty()) return grpc::Status::OK;
    grpc::Status failure = failures_.front();
    failures_.pop_front();
    return failure;
  }

  grpc::Status CreateSession(Context*, const v1::CreateSessionRequest* request,
                             v1::CreateSessionResponse*) override {
    return Next(request);
  }
  grpc::Status GetSession(Context*, const v1::GetSessionRequest* request,
                          v1::GetSessionResponse*) override {
    return Next(request);
  }
  grpc::Status ListSessions(Context*, const v1::ListSessionsRequest* request,
                            v1::ListSessionsResponse*) override {
    return Next(request);
  }
  grpc::Status UpdateSession(Context*, const v1::UpdateSessionRequest* request,
                             v1::UpdateSessionResponse*) override {
    return Next(request);
  }
  grpc::Status AcquireSession(Context*,
                              const v1::AcquireSessionRequest* request,
                              v1::AcquireSessionResponse*) override {
    return Next(request);
  }
  grpc::Status ExportSession(Context*, const v1::ExportSessionRequest* request,
                             v1::ExportSessionResponse*) override {
    return Next(request);
  }
  grpc::Status ImportSession(Context*, const v1::ImportSessionRequest* request,
                             v1::ImportSessionResponse*) override {
    return Next(request);
  }
  grpc::Status DeleteSession(Context*, const v1::DeleteSessionRequest* request,
                             v1::DeleteSessionResponse*) override {
    return Next(request);
  }
  grpc::Status Forward(Context* context, const v1::ForwardRequest* request,
                       v1::ForwardResponse* response) override {
    if (replayed_) context->AddTrailingMetadata("replayed", "true");
    response->mutable_y()->mutable_data()->assign(y_bytes_, 'y');
    return Next(request);
  }
  grpc::Status Backward(Context*, const v1::BackwardRequest* request,
                        v1::BackwardResponse*) override {
    return Next(request);
  }
  grpc::Status Sync(Context* context, const v1::SyncRequest* request,
                    v1::SyncResponse*) override {
    if (replayed_) context->AddTrailingMetadata("replayed", "true");
    return Next(request);
  }
  grpc::Status Evaluate(Context*, const v1::EvaluateRequest* request,
                        v1::EvaluateResponse*) override {
    return Next(request);
  }

  mutable std::mutex mutex_;
  std::condition_variable released_;
  bool hangs_ = false;
  std::deque<grpc::Status> failures_;
  std::vector<std::string> received_;

  // Set before calls are made.
  bool replayed_ = false;
  std::size_t y_bytes_ = 0;

  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_
