// A Connection for tests of programs that use this library; needs GoogleMock.
// From tests/unit/client/mock_connection_test.cc [mock]:
//
//     auto connection = std::make_shared<MockConnection>();
//     EXPECT_CALL(*connection, CreateSession)
//         .WillOnce(testing::Return(v1::CreateSessionResponse()));
//     EXPECT_CALL(*connection, Forward).WillOnce(testing::Return(non_finite));
//
//     Client client(connection);
//     auto layer = client.OpenLayer("enc.bn1", {.channels = 1});
//     EXPECT_TRUE(SkipsBadBatch(*layer, x));
#ifndef BATCHNORMD_CLIENT_MOCK_CONNECTION_H_
#define BATCHNORMD_CLIENT_MOCK_CONNECTION_H_

#include <gmock/gmock.h>

#include <memory>
#include <string>

#include "client/connection.h"

namespace batchnorm::client {

class MockConnection : public Connection {
 public:
  MOCK_METHOD(absl::StatusOr<v1::CreateSessionResponse>, CreateSession,
              (const v1::CreateSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::GetSessionResponse>, GetSession,
              (const v1::GetSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::ListSessionsResponse>, ListSessions,
              (const v1::ListSessionsRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::UpdateSessionResponse>, UpdateSession,
              (const v1::UpdateSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::AcquireSessionResponse>, AcquireSession,
              (const v1::AcquireSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::ExportSessionResponse>, ExportSession,
              (const v1::ExportSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::ImportSessionResponse>, ImportSession,
              (const v1::ImportSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::DeleteSessionResponse>, DeleteSession,
              (const v1::DeleteSessionRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<ForwardReply>, Forward,
              (const v1::ForwardRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::BackwardResponse>, Backward,
              (const v1::BackwardRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<SyncReply>, Sync, (const v1::SyncRequest& request),
              (override));
  MOCK_METHOD(std::unique_ptr<JoinStream>, Join,
              (const v1::JoinRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<v1::EvaluateResponse>, Evaluate,
              (const v1::EvaluateRequest& request), (override));
  MOCK_METHOD(absl::StatusOr<Health>, CheckHealth, (const std::string& service),
              (override));
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_MOCK_CONNECTION_H_
