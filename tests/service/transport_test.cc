// Listeners, encodings and bytes that no client of ours would send.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "tests/service/raw_call.h"
#include "tests/service/refusal.h"
#include "tests/service/running_server.h"
#include "tests/service/wire_tensors.h"

namespace batchnorm::service_test {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::string UnixAddress(const std::string& name) {
  return "unix:" + ::testing::TempDir() + "bn-" + std::to_string(getpid()) +
         "-" + name;
}

v1::EvaluateRequest SmallEvaluate() {
  v1::EvaluateRequest request;
  request.set_mode(v1::MODE_TRAIN);
  *request.mutable_x() = F64({50, 3}, Noise(150, 1));
  *request.mutable_dy() = F64({50, 3}, Noise(150, 2));
  return request;
}

TEST(Listeners, UnixAndTcpGiveTheSameBytes) {
  rpc::ServerOptions options = LoopbackOptions();
  options.listen.push_back(UnixAddress("both"));
  RunningServer service(options);
  ASSERT_THAT(service.server().addresses(), SizeIs(2));
  EXPECT_EQ(service.server().addresses()[1], UnixAddress("both"));
  std::array<std::string, 2> replies;
  for (std::size_t i = 0; i < replies.size(); ++i) {
    EXPECT_TRUE(RawCall(Dial(service.server().addresses()[i]), kEvaluateMethod,
                        SmallEvaluate().SerializeAsString(), replies[i])
                    .ok());
  }
  EXPECT_EQ(replies[0], replies[1]);
  EXPECT_THAT(replies[0], SizeIs(::testing::Gt(2400U)));
}

TEST(Listeners, Port0BecomesARealPortOfTheSameHost) {
  RunningServer service;
  EXPECT_THAT(service.address(), StartsWith("localhost:"));
  EXPECT_NE(service.address(), "localhost:0");
}

TEST(Listeners, APortThatIsTakenIsNamed) {
  RunningServer service;
  rpc::ServerOptions options;
  options.listen = {"localhost:0", service.address()};
  const auto second = rpc::Server::Start(options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(service.address()));
}

TEST(Listeners, AUnixSocketThatIsServedIsNotTakenAway) {
  rpc::ServerOptions options;
  options.listen = {UnixAddress("taken")};
  const RunningServer service(options);
  EXPECT_EQ(rpc::Server::Start(options).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(service.StatusOf(SmallEvaluate()).ok());
}

TEST(Listeners, WhatIsNoAddressIsRefused) {
  for (const std::string address :
       {"", "localhost", ":1", "localhost:", "localhost:x", "localhost:65536",
        "unix:"}) {
    rpc::ServerOptions options;
    options.listen = {address};
    EXPECT_EQ(rpc::Server::Start(options).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

TEST(Listeners, OptionsOutOfRangeAreRefused) {
  const auto code_of = [](auto change) {
    rpc::ServerOptions options = LoopbackOptions();
    change(options);
    return rpc::Server::Start(options).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  using Options = rpc::ServerOptions;
  EXPECT_EQ(code_of([](Options& o) { o.listen.clear(); }), kInvalid);
  EXPECT_EQ(code_of([](Options& o) { o.threads = -1; }), kInvalid);
  EXPECT_EQ(code_of([](Options& o) { o.max_sessions = 0; }), kInvalid);
  EXPECT_EQ(code_of([](Options& o) { o.max_tensor_bytes = 0; }), kInvalid);
  EXPECT_EQ(code_of([](Options& o) { o.max_bytes_in_flight = 0; }), kInvalid);
  EXPECT_EQ(code_of([](Options& o) { o.kept_input_bytes = -1; }), kInvalid);
  EXPECT_EQ(code_of([](Options& o) { o.max_message_bytes = 1; }), kInvalid);
  EXPECT_EQ(
      code_of([](Options& o) { o.max_message_bytes = std::int64_t{1} << 31; }),
      kInvalid);
}

TEST(Compression, AGzipRequestIsRefused) {
  const RunningServer service;
  const auto context = NewContext();
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::EvaluateResponse response;
  const grpc::Status status =
      service.stub().Evaluate(context.get(), SmallEvaluate(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("gzip"));
  EXPECT_TRUE(service.StatusOf(SmallEvaluate()).ok());
}

TEST(MalformedBytes, AreRefusedWithAReasonAndTheServerLives) {
  const RunningServer service;
  const std::string whole = SmallEvaluate().SerializeAsString();
  const std::vector<std::string> malformed = {
      "garbage", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
      whole.substr(0, whole.size() - 1),
      // A tensor whose length field promises 2 GiB.
      std::string("\x7a\xff\xff\xff\xff\x07", 6),
      // Groups nested deeper than any message is.
      std::string(5000, '\x0b')};
  for (const std::string& bytes : malformed) {
    std::string reply;
    const grpc::Status status =
        RawCall(service.channel(), kEvaluateMethod, bytes, reply);
    EXPECT_THAT(status, Refused(grpc::StatusCode::INVALID_ARGUMENT,
                                "MALFORMED_REQUEST", ""));
  }
  EXPECT_TRUE(service.StatusOf(SmallEvaluate()).ok());
}

TEST(MalformedBytes, FieldsOfLaterVersionsAreIgnored) {
  const RunningServer service;
  // Field 100, a string.
  const std::string later =
      SmallEvaluate().SerializeAsString() + std::string("\xa2\x06\x05later", 8);
  std::string reply;
  EXPECT_TRUE(RawCall(service.channel(), kEvaluateMethod, later, reply).ok());
}

TEST(Reflection, IsThereUnlessItIsTurnedOff) {
  // ServerReflectionRequest { string list_services = 7; } on a stream of one.
  constexpr char kMethod[] =
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  const auto services = [&](bool reflection) {
    rpc::ServerOptions options = LoopbackOptions();
    options.reflection = reflection;
    const RunningServer service(options);
    std::string reply;
    RawCall(service.channel(), kMethod, std::string("\x3a\0", 2), reply);
    return reply;
  };
  EXPECT_THAT(services(true), HasSubstr("batchnorm.v1.BatchNormService"));
  EXPECT_EQ(services(false), "");
}

TEST(UnknownMethod, IsUnimplemented) {
  const RunningServer service;
  std::string reply;
  EXPECT_EQ(RawCall(service.channel(),
                    "/batchnorm.v1.BatchNormService/Frobnicate", "", reply)
                .error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST(ErrorTexts, NameNoPathAndNoInternals) {
  const RunningServer service;
  v1::EvaluateRequest request = SmallEvaluate();
  request.mutable_x()->clear_dtype();
  const std::string text = service.StatusOf(request).error_message();
  for (const char* internal : {"/", "::", ".cc", "0x", "absl"}) {
    EXPECT_EQ(text.find(internal), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace batchnorm::service_test
