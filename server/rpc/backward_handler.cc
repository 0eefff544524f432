#include "server/rpc/backward_handler.h"

#include <memory>
#include <optional>
#include <utility>

#include "server/rpc/result_mapping.h"
#include "server/rpc/tensor_mapping.h"
#include "server/session/session.h"

namespace batchnorm::rpc {
namespace {

absl::StatusOr<session::BackwardCall> Take(v1::BackwardRequest request) {
  absl::StatusOr<session::Tensor> dy = TakeRequiredTensor(
      request.has_dy() ? request.mutable_dy() : nullptr, "dy", "BAD_TENSOR");
  if (!dy.ok()) return dy.status();
  absl::StatusOr<std::optional<session::Tensor>> x =
      TakeOptionalTensor(request.has_x() ? request.mutable_x() : nullptr, "x");
  if (!x.ok()) return x.status();
  absl::StatusOr<std::optional<session::Tensor>> gamma = TakeOptionalTensor(
      request.has_gamma() ? request.mutable_gamma() : nullptr, "gamma");
  if (!gamma.ok()) return gamma.status();
  session::BackwardCall call;
  call.step = request.step();
  call.rank = request.rank();
  call.pass = request.pass();
  call.acknowledged_step = request.acknowledged_step();
  call.writer_token = request.writer_token();
  call.gamma = *std::move(gamma);
  call.x = *std::move(x);
  call.dy = *std::move(dy);
  return call;
}

}  // namespace

void Backward(session::Registry& registry, v1::BackwardRequest request,
              const Responder<v1::BackwardResponse>& respond) {
  const absl::StatusOr<std::shared_ptr<session::Session>> session =
      registry.Find(request.session());
  if (!session.ok()) return respond(session.status());
  const session::PhaseKey key = {.step = request.step(),
                                 .phase = session::Phase::kBackward,
                                 .pass = request.pass()};
  const std::uint32_t rank = request.rank();
  absl::StatusOr<session::BackwardCall> call = Take(std::move(request));
  if (!call.ok()) {
    (*session)->Refuse(key, rank, call.status());
    return respond(call.status());
  }
  (*session)->Backward(
      *std::move(call), [respond, session = *session](
                            absl::StatusOr<session::BackwardResult> result) {
        if (!result.ok()) return respond(result.status());
        const session::Journal::Change change = result->change;
        session->WhenItLasts(change,
                             respond.Prepare(ToProto(*std::move(result))));
      });
}

}  // namespace batchnorm::rpc
