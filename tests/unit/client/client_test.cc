// A Client over a mock: what it asks of its connection, and what it makes of
// the answers.
#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "client/messages.h"
#include "client/mock_connection.h"
#include "proto/wire/tensor_codec.h"
#include "tests/unit/client/errors.h"
#include "tests/unit/client/status_matchers.h"

namespace batchnorm::client {
namespace {

using ::testing::Property;
using ::testing::Return;

class ClientTest : public ::testing::Test {
 protected:
  v1::ListSessionsResponse Page(std::initializer_list<const char*> names,
                                const std::string& next) {
    v1::ListSessionsResponse page;
    for (const char* name : names) page.add_sessions()->set_name(name);
    page.set_next_page_token(next);
    return page;
  }

  std::shared_ptr<MockConnection> connection_ =
      std::make_shared<::testing::StrictMock<MockConnection>>();
  Client client_{connection_};
};

TEST_F(ClientTest, CreatesASessionWithItsConfiguration) {
  v1::CreateSessionResponse response;
  response.mutable_session()->set_name("enc.bn1");
  v1::CreateSessionRequest request;
  EXPECT_CALL(*connection_, CreateSession)
      .WillOnce([&](const v1::CreateSessionRequest& sent) {
        request = sent;
        return response;
      });
  const auto session = client_.CreateSession("enc.bn1", {.channels = 64});
  ASSERT_THAT(session, IsOk());
  EXPECT_EQ(session->name, "enc.bn1");
  EXPECT_EQ(request.name(), "enc.bn1");
  EXPECT_EQ(request.config().channels(), 64);
}

TEST_F(ClientTest, ErrorsArriveUnchanged) {
  const absl::Status error =
      ServerError(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND");
  EXPECT_CALL(*connection_, GetSession).WillOnce(Return(error));
  EXPECT_CALL(*connection_, Forward).WillOnce(Return(error));
  EXPECT_CALL(*connection_, Backward).WillOnce(Return(error));
  EXPECT_CALL(*connection_, Evaluate).WillOnce(Return(error));
  EXPECT_CALL(*connection_, DeleteSession).WillOnce(Return(error));
  EXPECT_CALL(*connection_, UpdateSession).WillOnce(Return(error));
  EXPECT_CALL(*connection_, AcquireSession).WillOnce(Return(error));
  EXPECT_CALL(*connection_, ExportSession).WillOnce(Return(error));
  EXPECT_CALL(*connection_, ImportSession).WillOnce(Return(error));
  EXPECT_CALL(*connection_, CreateSession).WillOnce(Return(error));
  EXPECT_EQ(client_.GetSession("a").status(), error);
  EXPECT_EQ(client_.Forward({}).status(), error);
  EXPECT_EQ(client_.Backward({}).status(), error);
  EXPECT_EQ(client_.Evaluate({}).status(), error);
  EXPECT_EQ(client_.DeleteSession("a"), error);
  EXPECT_EQ(client_.UpdateSession({}).status(), error);
  EXPECT_EQ(client_.AcquireSession({}).status(), error);
  EXPECT_EQ(client_.ExportSession("a").status(), error);
  EXPECT_EQ(client_.ImportSession({}).status(), error);
  EXPECT_EQ(client_.OpenLayer("a", {}).status(), error);
}

TEST_F(ClientTest, UpdateNamesTheStepItExpects) {
  v1::UpdateSessionRequest request;
  EXPECT_CALL(*connection_, UpdateSession)
      .WillOnce([&](const v1::UpdateSessionRequest& sent) {
        request = sent;
        return v1::UpdateSessionResponse();
      });
  EXPECT_THAT(
      client_.UpdateSession({.name = "a", .world_size = 4, .expected_step = 9}),
      IsOk());
  EXPECT_EQ(request.name(), "a");
  EXPECT_EQ(request.world_size(), 4U);
  EXPECT_EQ(request.expected_step(), 9U);
}

TEST_F(ClientTest, AcquiresARankFromAStepOn) {
  v1::AcquireSessionRequest request;
  EXPECT_CALL(*connection_, AcquireSession)
      .WillOnce([&](const v1::AcquireSessionRequest& sent) {
        request = sent;
        v1::AcquireSessionResponse response;
        response.set_writer_token("w7");
        response.set_last_step(43);
        return response;
      });
  const auto writer =
      client_.AcquireSession({.name = "a", .rank = 2, .at_least_step = 41});
  ASSERT_THAT(writer, IsOk());
  EXPECT_EQ(writer->writer_token, "w7");
  EXPECT_EQ(writer->last_step, 43U);
  EXPECT_EQ(request.name(), "a");
  EXPECT_EQ(request.rank(), 2U);
  EXPECT_EQ(request.at_least_step(), 41U);
}

TEST_F(ClientTest, ASnapshotIsImportedAsItWasExported) {
  v1::ExportSessionResponse exported;
  v1::SessionSnapshot& snapshot = *exported.mutable_snapshot();
  snapshot = ToProto(
      SessionSnapshot{.config = {.channels = 2, .step_window = 3},
                      .last_step = 41,
                      .running_statistics = {{0.1, -0.0}, {1e-308, 2}, 40},
                      .format_version = 1,
                      .checksum = 0xFEDCBA9876543210});
  EXPECT_CALL(*connection_,
              ExportSession(Property(&v1::ExportSessionRequest::name, "a")))
      .WillOnce(Return(exported));
  v1::ImportSessionRequest request;
  EXPECT_CALL(*connection_, ImportSession)
      .WillOnce([&](const v1::ImportSessionRequest& sent) {
        request = sent;
        v1::ImportSessionResponse response;
        response.mutable_session()->set_last_step(41);
        return response;
      });
  const auto checkpoint = client_.ExportSession("a");
  ASSERT_THAT(checkpoint, IsOk());
  const auto session = client_.ImportSession({.name = "b",
                                              .snapshot = *checkpoint,
                                              .replace = true,
                                              .writer_token = "w7"});
  ASSERT_THAT(session, IsOk());
  EXPECT_EQ(session->last_step, 41U);
  EXPECT_EQ(request.name(), "b");
  EXPECT_TRUE(request.replace());
  EXPECT_EQ(request.writer_token(), "w7");
  EXPECT_EQ(request.snapshot().SerializeAsString(),
            snapshot.SerializeAsString());
}

TEST_F(ClientTest, ASnapshotThatBreaksTheContractIsAnError) {
  v1::ExportSessionResponse exported;
  EXPECT_CALL(*connection_, ExportSession).WillOnce(Return(exported));
  EXPECT_THAT(client_.ExportSession("a"), HasCode(absl::StatusCode::kInternal));
}

TEST_F(ClientTest, ListsOnePage) {
  v1::ListSessionsRequest request;
  EXPECT_CALL(*connection_, ListSessions)
      .WillOnce([&](const v1::ListSessionsRequest& sent) {
        request = sent;
        return Page({"b"}, "after b");
      });
  const auto page = client_.ListSessions(
      {.page_size = 1, .page_token = "after a", .prefix = "enc"});
  ASSERT_THAT(page, IsOk());
  EXPECT_EQ(page->sessions.size(), 1U);
  EXPECT_EQ(page->next_page_token, "after b");
  EXPECT_EQ(request.page_size(), 1);
  EXPECT_EQ(request.page_token(), "after a");
  EXPECT_EQ(request.prefix(), "enc");
}

TEST_F(ClientTest, ListsAllPages) {
  const auto token = [](const char* value) {
    return Property(&v1::ListSessionsRequest::page_token, std::string(value));
  };
  EXPECT_CALL(*connection_, ListSessions(token("")))
      .WillOnce(Return(Page({"a", "b"}, "1")));
  EXPECT_CALL(*connection_, ListSessions(token("1")))
      .WillOnce(Return(Page({}, "2")));
  EXPECT_CALL(*connection_, ListSessions(token("2")))
      .WillOnce(Return(Page({"c"}, "")));
  const auto sessions = client_.ListAllSessions();
  ASSERT_THAT(sessions, IsOk());
  ASSERT_EQ(sessions->size(), 3U);
  EXPECT_EQ((*sessions)[2].name, "c");
}

TEST_F(ClientTest, AFailedPageFailsTheList) {
  EXPECT_CALL(*connection_, ListSessions)
      .WillOnce(Return(Page({"a"}, "1")))
      .WillOnce(Return(absl::UnavailableError("gone")));
  EXPECT_THAT(client_.ListAllSessions(),
              HasCode(absl::StatusCode::kUnavailable));
}

TEST_F(ClientTest, AServerThatRepeatsAPageDoesNotHoldTheCallerForEver) {
  EXPECT_CALL(*connection_, ListSessions)
      .WillRepeatedly(Return(Page({"a"}, "1")));
  EXPECT_THAT(client_.ListAllSessions(), HasCode(absl::StatusCode::kInternal));
}

TEST_F(ClientTest, AsksForTheHealthOfTheWholeServerByDefault) {
  EXPECT_CALL(*connection_, CheckHealth("")).WillOnce(Return(Health::kServing));
  EXPECT_EQ(*client_.CheckHealth(), Health::kServing);
}

TEST_F(ClientTest, CopiesShareTheConnection) {
  const Client copy = client_;
  EXPECT_CALL(*connection_, CheckHealth(std::string(kServiceName)))
      .WillOnce(Return(Health::kNotServing));
  EXPECT_EQ(*copy.CheckHealth(kServiceName), Health::kNotServing);
}

TEST_F(ClientTest, AReplayIsVisible) {
  ForwardReply reply;
  *reply.response.mutable_y() =
      wire::ToProto(MakeTensor(std::vector<float>{1}, {1}));
  reply.replayed = true;
  EXPECT_CALL(*connection_, Forward).WillOnce(Return(reply));
  const auto result = client_.Forward({.session = "a", .step = 1});
  ASSERT_THAT(result, IsOk());
  EXPECT_TRUE(result->replayed);
}

}  // namespace
}  // namespace batchnorm::client
