// What is left of an error after its way over the wire, and what of an error
// that no server of ours has made.
#include "proto/wire/status_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace batchnorm::wire {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

ErrorDetail FullDetail() {
  return {.reason = "STEP_GAP",
          .field = "step",
          .metadata = {{"last_step", "41"}},
          .retry_after = absl::Milliseconds(1500)};
}

absl::Status ThroughTheWire(const absl::Status& status,
                            const std::optional<ErrorDetail>& detail) {
  return FromGrpcStatus(ToGrpcStatus(status, detail));
}

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status proto;
  EXPECT_TRUE(proto.ParseFromString(status.error_details()));
  return proto;
}

// A status as a foreign server could send it: any messages as details.
template <typename... Messages>
absl::Status Received(const Messages&... details) {
  google::rpc::Status proto;
  (proto.add_details()->PackFrom(details), ...);
  return FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone",
                                     proto.SerializeAsString()));
}

google::rpc::ErrorInfo OurErrorInfo() {
  google::rpc::ErrorInfo info;
  info.set_domain("batchnorm.v1");
  info.set_reason("BUSY");
  return info;
}

google::rpc::RetryInfo RetryAfter(std::int64_t seconds, std::int32_t nanos) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(seconds);
  info.mutable_retry_delay()->set_nanos(nanos);
  return info;
}

TEST(StatusCodec, EveryCodeSurvivesUnchanged) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status sent(static_cast<absl::StatusCode>(code), "why");
    const absl::Status received = ThroughTheWire(sent, FullDetail());
    EXPECT_EQ(static_cast<int>(received.code()), code);
    EXPECT_EQ(received.message(), "why");
  }
}

TEST(StatusCodec, AllDetailsSurvive) {
  const auto detail = ErrorDetailOf(
      ThroughTheWire(absl::FailedPreconditionError("gap"), FullDetail()));
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason, "STEP_GAP");
  EXPECT_EQ(detail->field, "step");
  EXPECT_THAT(detail->metadata, ElementsAre(Pair("last_step", "41")));
  EXPECT_EQ(detail->retry_after, absl::Milliseconds(1500));
}

TEST(StatusCodec, DetailsAreTheMessagesOfGoogleRpcUnderTheirTypeUrls) {
  const google::rpc::Status proto =
      DetailsOf(ToGrpcStatus(absl::AbortedError("again"), FullDetail()));
  EXPECT_EQ(proto.code(), 10);
  EXPECT_EQ(proto.message(), "again");
  ASSERT_EQ(proto.details_size(), 3);
  EXPECT_EQ(proto.details(0).type_url(),
            "type.googleapis.com/google.rpc.ErrorInfo");
  EXPECT_EQ(proto.details(1).type_url(),
            "type.googleapis.com/google.rpc.BadRequest");
  EXPECT_EQ(proto.details(2).type_url(),
            "type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(proto.details(0).UnpackTo(&info));
  EXPECT_EQ(info.domain(), "batchnorm.v1");
}

TEST(StatusCodec, ABadFieldIsDescribedByTheMessage) {
  const google::rpc::Status proto = DetailsOf(ToGrpcStatus(
      absl::InvalidArgumentError("expected 8, got 7"),
      ErrorDetail{.reason = "WRONG_CHANNELS", .field = "gamma.shape"}));
  google::rpc::BadRequest bad_request;
  ASSERT_EQ(proto.details_size(), 2);
  ASSERT_TRUE(proto.details(1).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "gamma.shape");
  EXPECT_EQ(bad_request.field_violations(0).description(), "expected 8, got 7");
}

TEST(StatusCodec, AnErrorWithoutDetailSendsNone) {
  const grpc::Status sent =
      ToGrpcStatus(absl::InternalError("oh"), std::nullopt);
  EXPECT_EQ(sent.error_details(), "");
  EXPECT_FALSE(ErrorDetailOf(FromGrpcStatus(sent)).has_value());
}

TEST(StatusCodec, OkStaysOk) {
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  EXPECT_FALSE(ErrorDetailOf(absl::OkStatus()).has_value());
}

TEST(StatusCodec, TextIsClippedSoThatMetadataLimitsNeverHideAnError) {
  const std::string endless(1 << 20, '%');
  const grpc::Status sent =
      ToGrpcStatus(absl::InvalidArgumentError(endless),
                   ErrorDetail{.reason = "BAD_NAME", .field = endless});
  // Peers refuse 8 KiB; '%' is three bytes on the wire, details are base64.
  EXPECT_LT(
      sent.error_message().size() * 3 + sent.error_details().size() * 4 / 3,
      std::size_t{6000});
}

TEST(StatusCodec, TextIsPrintableAscii) {
  const std::string hostile = std::string("a\nb\0c\xff\xc3\xa4", 8);
  const absl::Status received =
      ThroughTheWire(absl::InvalidArgumentError(hostile),
                     ErrorDetail{.reason = "BAD_NAME",
                                 .field = hostile,
                                 .metadata = {{"name", hostile}}});
  EXPECT_EQ(received.message(), "a?b?c???");
  const auto detail = ErrorDetailOf(received);
  ASSERT_TRUE(detail.has_value());  // invalid UTF-8 would not parse
  EXPECT_EQ(detail->field, "a?b?c???");
  EXPECT_EQ(detail->metadata.at("name"), "a?b?c???");
}

TEST(StatusCodec, ImpossibleDelaysAreSentAsPossibleOnes) {
  const auto sent = [](absl::Duration delay) {
    return ErrorDetailOf(ThroughTheWire(absl::UnavailableError("busy"),
                                        ErrorDetail{.reason = "BUSY",
                                                    .retry_after = delay}))
        ->retry_after;
  };
  EXPECT_EQ(sent(-absl::Seconds(3)), absl::ZeroDuration());
  EXPECT_EQ(sent(absl::InfiniteDuration()), absl::Seconds(315'576'000'000));
  EXPECT_EQ(sent(absl::Nanoseconds(1)), absl::Nanoseconds(1));
}

TEST(StatusCodec, ImpossibleDelaysThatArriveAreIgnored) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  for (const auto& info :
       {RetryAfter(-1, 0), RetryAfter(0, -1), RetryAfter(0, 1'000'000'000),
        RetryAfter(kMost, 0), RetryAfter(-kMost - 1, 999'999'999)}) {
    const auto detail = ErrorDetailOf(Received(OurErrorInfo(), info));
    ASSERT_TRUE(detail.has_value());
    EXPECT_FALSE(detail->retry_after.has_value()) << info.ShortDebugString();
  }
}

TEST(StatusCodec, AnotherDomainIsNotOurs) {
  google::rpc::ErrorInfo info = OurErrorInfo();
  info.set_domain("googleapis.com");
  EXPECT_FALSE(ErrorDetailOf(Received(info)).has_value());
  EXPECT_FALSE(ErrorDetailOf(Received(RetryAfter(1, 0))).has_value());
}

TEST(StatusCodec, UnknownDetailsDoNotHideKnownOnes) {
  google::rpc::Help help;
  help.add_links()->set_url("https://example.com");
  const auto detail =
      ErrorDetailOf(Received(help, RetryAfter(2, 5), OurErrorInfo()));
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason, "BUSY");
  EXPECT_EQ(detail->field, "");
  EXPECT_EQ(detail->retry_after, absl::Seconds(2) + absl::Nanoseconds(5));
}

TEST(StatusCodec, AnEmptyBadRequestNamesNoField) {
  const auto detail =
      ErrorDetailOf(Received(OurErrorInfo(), google::rpc::BadRequest()));
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field, "");
}

TEST(StatusCodec, ADetailThatDoesNotParseIsAbsent) {
  google::rpc::Status proto;
  auto* any = proto.add_details();
  any->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  any->set_value("\x0a\xff");
  const absl::Status status = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::INTERNAL, "m", proto.SerializeAsString()));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(ErrorDetailOf(status).has_value());
}

TEST(StatusCodec, UnknownCodesAreUnknown) {
  for (const int code : {-1, 17, 31}) {  // all that the enum can hold
    const absl::Status status =
        FromGrpcStatus(grpc::Status(static_cast<grpc::StatusCode>(code), "m"));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnknown) << code;
  }
}

TEST(StatusCodec, TheCodeOfTheCallOutranksTheOneInTheDetails) {
  google::rpc::Status proto;
  proto.set_code(0);
  const absl::Status status = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::ABORTED, "m", proto.SerializeAsString()));
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
}

// Truncated, overwritten and random details: the code and the message are
// always what the call says, and reading details never fails. (Bytes above 127
// would do no more than fill the log: protobuf reports each.)
TEST(StatusCodec, GarbageInDetailsChangesNothingElse) {
  const std::string good =
      ToGrpcStatus(absl::AbortedError("m"), FullDetail()).error_details();
  std::mt19937 random(7);
  std::uniform_int_distribution<int> byte(0, 127);
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string bytes = good;
    bytes.resize(random() % (good.size() + 20));
    for (unsigned flips = random() % 4; flips > 0 && !bytes.empty(); --flips) {
      bytes[random() % bytes.size()] = static_cast<char>(byte(random));
    }
    const absl::Status status =
        FromGrpcStatus(grpc::Status(grpc::StatusCode::ABORTED, "m", bytes));
    ASSERT_EQ(status.code(), absl::StatusCode::kAborted);
    ASSERT_EQ(status.message(), "m");
    const auto detail = ErrorDetailOf(status);
    if (detail.has_value() && detail->retry_after.has_value()) {
      ASSERT_GE(*detail->retry_after, absl::ZeroDuration());
    }
  }
}

TEST(StatusCodec, AFloodOfDetailsIsCutOff) {
  google::rpc::Status proto;
  for (int i = 0; i < 10'000; ++i) {
    proto.add_details()->set_type_url(std::to_string(i));
  }
  const absl::Status status = FromGrpcStatus(
      grpc::Status(grpc::StatusCode::ABORTED, "m", proto.SerializeAsString()));
  int kept = 0;
  status.ForEachPayload(
      [&kept](absl::string_view, const absl::Cord&) { ++kept; });
  EXPECT_EQ(kept, 16);
}

}  // namespace
}  // namespace batchnorm::wire
