// gRPC is alive throughout the suite. Left alone, it ends with the last of its
// objects, that is after many a test, and joins there a thread that may be in
// an epoll of 10 s.
#include <grpc/grpc.h>
#include <gtest/gtest.h>

namespace batchnorm::client {
namespace {

class GrpcLifetime : public ::testing::Environment {
 public:
  void SetUp() override { grpc_init(); }
};

const ::testing::Environment* const kLifetime =
    ::testing::AddGlobalTestEnvironment(new GrpcLifetime);

}  // namespace
}  // namespace batchnorm::client
