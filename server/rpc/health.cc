#include "server/rpc/health.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include "server/rpc/event.h"
#include "server/rpc/message_bytes.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

using HealthRequest = grpc::health::v1::HealthCheckRequest;

// Answered where it was received. Owns itself until its answer is sent.
class CheckCall {
 public:
  static void Post(Health& health, const CallFloor& floor) {
    auto* const call = new CheckCall(health, floor);
    health.service().RequestCheck(&call->context_, &call->request_,
                                  &call->writer_, &floor.queue, &floor.queue,
                                  &call->received_);
  }

 private:
  CheckCall(Health& health, const CallFloor& floor)
      : health_(health), floor_(floor), writer_(&context_) {
    floor_.census.Enter();
  }
  ~CheckCall() { floor_.census.Leave(); }

  void OnReceived(bool ok) {
    if (!ok) {  // the server shuts down
      delete this;
      return;
    }
    Post(health_, floor_);
    const Health::Response response = health_.Of(request_.service());
    if (response.status() == Health::Response::SERVICE_UNKNOWN) {
      writer_.FinishWithError(
          grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service"),
          &finished_);
    } else {
      writer_.Finish(response, grpc::Status::OK, &finished_);
    }
  }

  Health& health_;
  const CallFloor& floor_;
  grpc::ServerContext context_;
  HealthRequest request_;
  grpc::ServerAsyncResponseWriter<Health::Response> writer_;
  Event received_{[this](bool ok) { OnReceived(ok); }};
  Event finished_{[this](bool) { delete this; }};
};

class WatchCall : public StateStream {
 public:
  static void Post(Health& health, const CallFloor& floor) {
    std::make_shared<WatchCall>(health, floor)
        ->Ask([&health](grpc::ServerContext* context, grpc::ByteBuffer* request,
                        RawReplyStream* stream,
                        grpc::ServerCompletionQueue* queue, void* tag) {
          health.service().RequestWatch(context, request, stream, queue, queue,
                                        tag);
        });
  }

  WatchCall(Health& health, const CallFloor& floor)
      : StateStream(floor), health_(health) {}

 private:
  void OnReceived() override {
    Post(health_, floor());
    HealthRequest message;
    const absl::Status parsed = Parse(request(), message);
    if (!parsed.ok()) return End(parsed);
    health_.AddWatcher(message.service(), shared_from_this());
  }
  void OnOver() override { health_.RemoveWatcher(shared_from_this()); }

  Health& health_;
};

}  // namespace

void Health::Post(const CallFloor& floor) {
  CheckCall::Post(*this, floor);
  WatchCall::Post(*this, floor);
}

void Health::SetServing(bool serving) {
  const std::lock_guard lock(mutex_);
  serving_ = serving;
  for (const auto& [watcher, known] : watchers_) {
    if (known) watcher->Tell(Now(known));
  }
}

void Health::EndWatches() {
  const std::lock_guard lock(mutex_);
  has_ended_ = true;
  for (const auto& [watcher, known] : watchers_) {
    watcher->End(session::ServerDraining());
  }
}

Health::Response Health::Of(std::string_view service) const {
  const std::lock_guard lock(mutex_);
  return Now(Knows(service));
}

void Health::AddWatcher(std::string_view service,
                        const std::shared_ptr<StateStream>& watcher) {
  const std::lock_guard lock(mutex_);
  const bool known = Knows(service);
  watcher->Tell(Now(known));
  if (has_ended_) return watcher->End(session::ServerDraining());
  watchers_[watcher] = known;
}

void Health::RemoveWatcher(const std::shared_ptr<StateStream>& watcher) {
  const std::lock_guard lock(mutex_);
  watchers_.erase(watcher);
}

Health::Response Health::Now(bool known) const {
  Response response;
  response.set_status(!known     ? Response::SERVICE_UNKNOWN
                      : serving_ ? Response::SERVING
                                 : Response::NOT_SERVING);
  return response;
}

}  // namespace batchnorm::rpc
