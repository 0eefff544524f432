// Calls by bytes, for what no generated stub would send.
#ifndef BATCHNORMD_TESTS_SERVICE_RAW_CALL_H_
#define BATCHNORMD_TESTS_SERVICE_RAW_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <memory>
#include <string>

namespace batchnorm::service_test {

inline constexpr char kForwardMethod[] =
    "/batchnorm.v1.BatchNormService/Forward";
inline constexpr char kEvaluateMethod[] =
    "/batchnorm.v1.BatchNormService/Evaluate";

// Sends the bytes as they are; `reply` gets what came back.
grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method, const std::string& request,
                     std::string& reply);

// What grpc.health.v1.Health says of a service ("" is the whole server).
enum class Health : std::uint8_t {
  kUnknown = 0,
  kServing = 1,
  kNotServing = 2,
  kNoAnswer
};
Health HealthOf(const std::shared_ptr<grpc::Channel>& channel,
                const std::string& service);

}  // namespace batchnorm::service_test

#endif  // BATCHNORMD_TESTS_SERVICE_RAW_CALL_H_
