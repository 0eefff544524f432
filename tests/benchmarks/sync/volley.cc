#include "tests/benchmarks/sync/volley.h"

#include <grpcpp/create_channel.h>

#include <chrono>
#include <stdexcept>

namespace batchnorm::benchmark {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience(60);

std::shared_ptr<grpc::Channel> Dial(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  auto channel = grpc::CreateCustomChannel(
      address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                 kPatience)) {
    throw std::runtime_error("no connection to " + address);
  }
  return channel;
}

}  // namespace

struct Volley::Call {
  grpc::ClientContext context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer reply;
  grpc::Status status;
};

Volley::Volley(const std::string& address, std::size_t connections) {
  for (std::size_t i = 0; i < connections; ++i) {
    channels_.push_back(Dial(address));
    stubs_.push_back(std::make_unique<grpc::GenericStub>(channels_.back()));
  }
}

Volley::~Volley() {
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

void Volley::Start(const Shot& shot) {
  Call& call = *calls_.emplace_back(std::make_unique<Call>());
  call.context.set_deadline(std::chrono::system_clock::now() + kPatience);
  call.reader = stubs_[shot.connection]->PrepareUnaryCall(
      &call.context, shot.method, shot.request, &queue_);
  call.reader->StartCall();
  call.reader->Finish(&call.reply, &call.status, &call);
}

void Volley::Begin(const std::vector<Shot>& shots) {
  calls_.reserve(calls_.size() + shots.size());
  for (const Shot& shot : shots) Start(shot);
}

void Volley::Collect() {
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
    const Call& call = *static_cast<Call*>(tag);
    if (!call.status.ok()) {
      throw std::runtime_error(call.status.error_message());
    }
  }
  calls_.clear();
}

double Volley::Fire(const std::vector<Shot>& shots,
                    std::vector<grpc::ByteBuffer>* replies) {
  const auto begin = Clock::now();
  Begin(shots);
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
  }
  const std::chrono::duration<double> taken = Clock::now() - begin;
  for (const auto& call : calls_) {
    if (!call->status.ok()) {
      throw std::runtime_error(call->status.error_message());
    }
    if (replies != nullptr) replies->push_back(std::move(call->reply));
  }
  calls_.clear();
  return taken.count();
}

grpc::ByteBuffer BytesOf(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace batchnorm::benchmark
