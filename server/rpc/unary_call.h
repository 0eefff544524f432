// Makes an RPC method out of a handler of messages.
//
// A handler is three steps, check -> call -> map:
//
//   void GetSession(Registry& registry, v1::GetSessionRequest request,
//                   Responder<v1::GetSessionResponse> respond);
//
// It answers by respond(reply or error), exactly once, on any thread.
#ifndef BATCHNORMD_SERVER_RPC_UNARY_CALL_H_
#define BATCHNORMD_SERVER_RPC_UNARY_CALL_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/call.h"
#include "server/rpc/message_bytes.h"

namespace batchnorm::rpc {

using ReplyBytes = absl::StatusOr<grpc::ByteBuffer>;

// Copyable; all copies answer the same call.
template <typename Reply>
class Responder {
 public:
  explicit Responder(Call& call) : call_(&call) {}

  const std::string& tenant() const { return call_->tenant(); }

  void AddTrailer(const std::string& key, const std::string& value) const {
    call_->AddTrailer(key, value);
  }

  void operator()(const absl::StatusOr<Reply>& reply) const {
    if (!reply.ok()) return call_->Fail(reply.status());
    const absl::StatusOr<grpc::ByteBuffer> bytes = Serialize(*reply);
    if (!bytes.ok()) return call_->Fail(bytes.status());
    call_->Finish(*bytes);
  }

  // The reply as it will be sent, once it is known that it may be: for a thread
  // that has better things to do than writing messages.
  std::function<void(const absl::Status&)> Prepare(const Reply& reply) const {
    return Prepare(std::make_shared<const ReplyBytes>(Serialize(reply)));
  }

  // The same of a reply that others may be sent, too.
  std::function<void(const absl::Status&)> Prepare(
      std::shared_ptr<const ReplyBytes> bytes) const {
    return [call = call_, bytes = std::move(bytes)](const absl::Status& may) {
      if (!may.ok()) return call->Fail(may);
      if (!bytes->ok()) return call->Fail(bytes->status());
      call->Finish(**bytes);
    };
  }

 private:
  Call* call_;
};

// The `answer` of a Method.
template <typename Request, typename Reply>
std::function<void(Call&, grpc::ByteBuffer&)> AnswerWith(
    std::function<void(Request, Responder<Reply>)> handler) {
  return [handler = std::move(handler)](Call& call, grpc::ByteBuffer& bytes) {
    Request request;
    const absl::Status parsed = Parse(bytes, request);
    if (!parsed.ok()) return call.Fail(parsed);
    handler(std::move(request), Responder<Reply>(call));
  };
}

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_UNARY_CALL_H_
