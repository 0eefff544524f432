// A real connection whose replies a test may change on their way. Thread-safe
// as far as the alterations are.
#ifndef BATCHNORMD_TESTS_UNIT_QUICKSTART_ALTERING_CONNECTION_H_
#define BATCHNORMD_TESTS_UNIT_QUICKSTART_ALTERING_CONNECTION_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "client/connection.h"

namespace batchnorm::cli {

class AlteringConnection : public client::Connection {
 public:
  explicit AlteringConnection(std::shared_ptr<client::Connection> real)
      : real_(std::move(real)) {}

  // Called on each successful reply.
  std::function<void(v1::ForwardResponse&)> alter_forward =
      [](v1::ForwardResponse&) {};
  std::function<void(v1::EvaluateResponse&)> alter_evaluate =
      [](v1::EvaluateResponse&) {};

  absl::StatusOr<v1::CreateSessionResponse> CreateSession(
      const v1::CreateSessionRequest& request) override {
    return real_->CreateSession(request);
  }
  absl::StatusOr<v1::GetSessionResponse> GetSession(
      const v1::GetSessionRequest& request) override {
    return real_->GetSession(request);
  }
  absl::StatusOr<v1::ListSessionsResponse> ListSessions(
      const v1::ListSessionsRequest& request) override {
    return real_->ListSessions(request);
  }
  absl::StatusOr<v1::UpdateSessionResponse> UpdateSession(
      const v1::UpdateSessionRequest& request) override {
    return real_->UpdateSession(request);
  }
  absl::StatusOr<v1::AcquireSessionResponse> AcquireSession(
      const v1::AcquireSessionRequest& request) override {
    return real_->AcquireSession(request);
  }
  absl::StatusOr<v1::ExportSessionResponse> ExportSession(
      const v1::ExportSessionRequest& request) override {
    return real_->ExportSession(request);
  }
  absl::StatusOr<v1::ImportSessionResponse> ImportSession(
      const v1::ImportSessionRequest& request) override {
    return real_->ImportSession(request);
  }
  absl::StatusOr<v1::DeleteSessionResponse> DeleteSession(
      const v1::DeleteSessionRequest& request) override {
    return real_->DeleteSession(request);
  }
  absl::StatusOr<client::ForwardReply> Forward(
      const v1::ForwardRequest& request) override {
    auto reply = real_->Forward(request);
    if (reply.ok()) alter_forward(reply->response);
    return reply;
  }
  absl::StatusOr<v1::BackwardResponse> Backward(
      const v1::BackwardRequest& request) override {
    return real_->Backward(request);
  }
  absl::StatusOr<client::SyncReply> Sync(
      const v1::SyncRequest& request) override {
    return real_->Sync(request);
  }
  std::unique_ptr<client::JoinStream> Join(
      const v1::JoinRequest& request) override {
    return real_->Join(request);
  }
  absl::StatusOr<v1::EvaluateResponse> Evaluate(
      const v1::EvaluateRequest& request) override {
    auto response = real_->Evaluate(request);
    if (response.ok()) alter_evaluate(*response);
    return response;
  }
  absl::StatusOr<client::Health> CheckHealth(
      const std::string& service) override {
    return real_->CheckHealth(service);
  }

 private:
  std::shared_ptr<client::Connection> real_;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_TESTS_UNIT_QUICKSTART_ALTERING_CONNECTION_H_
