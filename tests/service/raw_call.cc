#include "tests/service/raw_call.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <grpcpp/support/stub_options.h>

#include <future>
#include <vector>

#include "tests/service/running_server.h"

namespace batchnorm::service_test {
namespace {

std::string ToString(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) return "";
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

}  // namespace

grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method, const std::string& request,
                     std::string& reply) {
  grpc::GenericStub stub(channel);
  const std::unique_ptr<grpc::ClientContext> context = NewContext();
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  std::promise<grpc::Status> done;
  stub.UnaryCall(
      context.get(), method, grpc::StubOptions(), &sent, &received,
      [&done](const grpc::Status& status) { done.set_value(status); });
  const grpc::Status status = done.get_future().get();
  reply = ToString(received);
  return status;
}

Health HealthOf(const std::shared_ptr<grpc::Channel>& channel,
                const std::string& service) {
  // HealthCheckRequest { string service = 1; }
  std::string request;
  if (!service.empty()) {
    request.push_back('\x0a');
    request.push_back(static_cast<char>(service.size()));
    request.append(service);
  }
  std::string reply;
  const grpc::Status status =
      RawCall(channel, "/grpc.health.v1.Health/Check", request, reply);
  if (!status.ok()) return Health::kNoAnswer;
  // HealthCheckResponse { ServingStatus status = 1; }
  return reply.size() == 2 ? static_cast<Health>(reply[1]) : Health::kUnknown;
}

}  // namespace batchnorm::service_test
