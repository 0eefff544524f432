#include "tests/benchmarks/sync/echo_server.h"

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace batchnorm::benchmark {
namespace {

class Echo {
 public:
  Echo(grpc::AsyncGenericService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue), stream_(&context_) {
    service_.RequestCall(&context_, &stream_, &queue_, &queue_, this);
  }

  void Go(bool ok) {
    switch (state_) {
      case State::kReceived:
        if (!ok) break;
        new Echo(service_, queue_);
        state_ = State::kRead;
        return stream_.Read(&request_, this);
      case State::kRead:
        state_ = State::kAnswered;
        return stream_.WriteAndFinish(Reply(), grpc::WriteOptions(),
                                      grpc::Status::OK, this);
      case State::kAnswered:
        break;
    }
    delete this;
  }

 private:
  enum class State : std::uint8_t { kReceived, kRead, kAnswered };

  grpc::ByteBuffer Reply() const {
    const std::string method = context_.method();
    const auto size = std::stoul(method.substr(method.rfind('/') + 1));
    const grpc::Slice bytes(std::string(size, 'x'));
    return grpc::ByteBuffer(&bytes, 1);
  }

  grpc::AsyncGenericService& service_;
  grpc::ServerCompletionQueue& queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer request_;
  State state_ = State::kReceived;
};

}  // namespace

void ServeEchoes() {
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("localhost:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterAsyncGenericService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  for (int i = 0; i < 32; ++i) new Echo(service, *queue);
  std::thread thread([&queue] {
    void* tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok)) static_cast<Echo*>(tag)->Go(ok);
  });
  fmt::print("localhost:{}\n", port);
  std::fflush(stdout);
  while (std::fgetc(stdin) != EOF) {
  }
  server->Shutdown(std::chrono::system_clock::now());
  queue->Shutdown();
  thread.join();
}

}  // namespace batchnorm::benchmark
