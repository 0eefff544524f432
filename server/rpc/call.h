// One RPC on the server, from waiting for it to having answered it.
//
// Bytes in, bytes out: unary_call.h adds the messages. The life of a call:
//
//   Post      asks gRPC for the next call of a method
//   received  (completion-queue thread) finds out whose it is, admits it by its
//             bytes, and hands it to a pool: tensor calls to the one that
//             computes, session calls to the one that may wait for the store;
//             quick ones it answers itself; then it posts the next one
//   answer    parses, works, and ends in Finish or Fail, on any thread
//   finished  (completion-queue thread) gives the bytes back and is gone
//
// A call that was cancelled or whose deadline has passed before its answer
// began is not computed.
#ifndef BATCHNORMD_SERVER_RPC_CALL_H_
#define BATCHNORMD_SERVER_RPC_CALL_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/access_control.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call_census.h"
#include "server/rpc/call_record.h"
#include "server/rpc/event.h"
#include "server/rpc/thread_pool.h"

namespace batchnorm::rpc {

class Call;
using RawReplyWriter = grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>;

// What the server does with the calls of one RPC method. Immutable.
struct Method {
  std::string name;
  // Tensor calls are admitted by their bytes; session calls always are.
  bool carries_tensors;
  // The generated RequestX.
  std::function<void(grpc::ServerContext*, grpc::ByteBuffer*, RawReplyWriter*,
                     grpc::ServerCompletionQueue*, void* tag)>
      request;
  // Leads to exactly one Finish or Fail, now or later, on any thread. The bytes
  // are the call's; it is gone when it is answered.
  std::function<void(Call&, grpc::ByteBuffer&)> answer;
  // Whether a tenant's call is answered sooner than another thread is woken for
  // it, without waiting for the store.
  std::function<bool(const std::string& tenant, const grpc::ByteBuffer&)>
      is_quick =
          [](const std::string&, const grpc::ByteBuffer&) { return false; };
  // Told of a tenant's call that was not admitted: others may wait for it. Not
  // to keep its caller waiting, so nothing that waits may be done here.
  std::function<void(const std::string& tenant, const grpc::ByteBuffer&,
                     const absl::Status&)>
      refused = [](const std::string&, const grpc::ByteBuffer&,
                   const absl::Status&) {};
};

// What all calls of one completion queue share. Outlives them.
struct CallFloor {
  grpc::ServerCompletionQueue& queue;
  const AccessControl& access;
  ThreadPool& compute_pool;
  ThreadPool& session_pool;
  ByteBudget& budget;
  CallCensus& census;
  const std::function<void()>& on_turn;  // before a tensor call is answered
  const CallObserver& on_answered;
};

// Owns itself from Post until three have let it go: whoever answered it, and
// gRPC's two last events. Their count also orders their memory accesses.
class Call {
 public:
  static void Post(const Method& method, const CallFloor& floor);

  // Whose call it is.
  const std::string& tenant() const { return tenant_; }

  // Before Finish or Fail, by the thread that calls it.
  void AddTrailer(const std::string& key, const std::string& value);

  // Exactly one of these, once; the call may be gone when they return.
  void Finish(const grpc::ByteBuffer& reply);
  void Fail(const absl::Status& status);

 private:
  Call(const Method& method, const CallFloor& floor);
  ~Call();

  void OnReceived(bool ok);
  void Dispatch();
  void OnDone();      // the call is over for gRPC: answered or cancelled
  void OnFinished();  // the answer is on its way
  void Release();

  absl::Status Identify();
  absl::Status Admit();
  void Refuse(const absl::Status& why);
  void TakeTurn();  // of a tensor call
  void Answer();
  absl::Status CheckAlive() const;
  void Record(const grpc::Status& status, std::size_t reply_bytes) const;

  const Method& method_;
  const CallFloor& floor_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  RawReplyWriter writer_;

  std::string tenant_;
  absl::Time received_at_;
  std::int64_t request_bytes_ = 0;
  std::int64_t admitted_bytes_ = 0;
  std::atomic<bool> cancelled_{false};
  std::atomic<int> holders_{3};  // the answer, `done` and `finished`

  Event received_{[this](bool ok) { OnReceived(ok); }};
  Event done_{[this](bool) { OnDone(); }};
  Event finished_{[this](bool) { OnFinished(); }};
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_CALL_H_
