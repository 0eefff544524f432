#include "server/rpc/sync_handler.h"

#include <memory>
#include <utility>

#include "server/rpc/message_bytes.h"
#include "server/rpc/result_mapping.h"
#include "server/rpc/sums_mapping.h"
#include "server/session/error.h"
#include "server/session/session.h"

namespace batchnorm::rpc {
namespace {

absl::Status TakeSums(const v1::SyncRequest& request, session::SyncCall& call) {
  switch (request.sums_case()) {
    case v1::SyncRequest::kForward: {
      auto sums = FromProto(request.forward());
      if (!sums.ok()) return sums.status();
      call.carried = DigestOf(request.rank(), request.forward());
      call.forward = *std::move(sums);
      return absl::OkStatus();
    }
    case v1::SyncRequest::kBackward: {
      auto sums = FromProto(request.backward());
      if (!sums.ok()) return sums.status();
      call.carried = DigestOf(request.rank(), request.backward());
      call.backward = *std::move(sums);
      return absl::OkStatus();
    }
    default:
      return session::InvalidField("sums", "BAD_SUMS",
                                   "expected forward or backward, the request "
                                   "holds neither");
  }
}

absl::StatusOr<session::SyncCall> Take(const v1::SyncRequest& request) {
  session::SyncCall call;
  call.step = request.step();
  call.rank = request.rank();
  call.pass = request.pass();
  call.acknowledged_step = request.acknowledged_step();
  call.writer_token = request.writer_token();
  if (request.has_new_weight()) call.new_weight = request.new_weight();
  if (absl::Status taken = TakeSums(request, call); !taken.ok()) return taken;
  return call;
}

// Written once for all ranks that get the same.
std::shared_ptr<const ReplyBytes> BytesOf(const session::SyncResult& result) {
  const auto make = [&result] { return Serialize(ToProto(result)); };
  if (result.shared == nullptr) {
    return std::make_shared<const ReplyBytes>(make());
  }
  return result.shared->GetOrMake<ReplyBytes>(make);
}

session::PhaseKey KeyOf(const v1::SyncRequest& request) {
  if (request.has_backward()) {
    return {.step = request.step(),
            .phase = session::Phase::kBackward,
            .pass = request.pass()};
  }
  return {.step = request.step(), .phase = session::Phase::kForward};
}

}  // namespace

// NOLINTNEXTLINE(performance-unnecessary-value-param): as the other handlers
void Sync(session::Registry& registry, v1::SyncRequest request,
          const Responder<v1::SyncResponse>& respond) {
  const absl::StatusOr<std::shared_ptr<session::Session>> session =
      registry.Find(request.session());
  if (!session.ok()) return respond(session.status());
  absl::StatusOr<session::SyncCall> call = Take(request);
  if (!call.ok()) {
    (*session)->Refuse(KeyOf(request), request.rank(), call.status());
    return respond(call.status());
  }
  (*session)->Sync(
      *std::move(call), [respond, session = *session](
                            const absl::StatusOr<session::SyncResult>& result) {
        if (!result.ok()) return respond(result.status());
        if (result->replayed) respond.AddTrailer("replayed", "true");
        session->WhenItLasts(result->change, respond.Prepare(BytesOf(*result)));
      });
}

}  // namespace batchnorm::rpc
