#include "server/rpc/forward_handler.h"

#include <memory>
#include <optional>
#include <utility>

#include "server/rpc/config_mapping.h"
#include "server/rpc/result_mapping.h"
#include "server/rpc/tensor_mapping.h"
#include "server/session/session.h"

namespace batchnorm::rpc {
namespace {

absl::Status TakeTensors(v1::ForwardRequest& request,
                         session::ForwardCall& call) {
  absl::StatusOr<session::Tensor> x = TakeRequiredTensor(
      request.has_x() ? request.mutable_x() : nullptr, "x", "BAD_TENSOR");
  if (!x.ok()) return x.status();
  absl::StatusOr<std::optional<session::Tensor>> gamma = TakeOptionalTensor(
      request.has_gamma() ? request.mutable_gamma() : nullptr, "gamma");
  if (!gamma.ok()) return gamma.status();
  absl::StatusOr<std::optional<session::Tensor>> beta = TakeOptionalTensor(
      request.has_beta() ? request.mutable_beta() : nullptr, "beta");
  if (!beta.ok()) return beta.status();
  call.x = *std::move(x);
  call.gamma = *std::move(gamma);
  call.beta = *std::move(beta);
  return absl::OkStatus();
}

absl::StatusOr<session::ForwardCall> Take(v1::ForwardRequest request) {
  const absl::StatusOr<session::Mode> mode = FromProto(request.mode());
  if (!mode.ok()) return mode.status();
  session::ForwardCall call;
  call.step = request.step();
  call.rank = request.rank();
  call.mode = *mode;
  call.acknowledged_step = request.acknowledged_step();
  call.writer_token = request.writer_token();
  if (request.has_new_weight()) call.new_weight = request.new_weight();
  if (absl::Status taken = TakeTensors(request, call); !taken.ok()) {
    return taken;
  }
  return call;
}

}  // namespace

void Forward(session::Registry& registry, v1::ForwardRequest request,
             const Responder<v1::ForwardResponse>& respond) {
  const absl::StatusOr<std::shared_ptr<session::Session>> session =
      registry.Find(request.session());
  if (!session.ok()) return respond(session.status());
  const session::PhaseKey key = {.step = request.step(),
                                 .phase = session::Phase::kForward};
  const std::uint32_t rank = request.rank();
  const bool is_inference = request.mode() == v1::MODE_INFERENCE;
  absl::StatusOr<session::ForwardCall> call = Take(std::move(request));
  if (!call.ok()) {
    if (!is_inference) (*session)->Refuse(key, rank, call.status());
    return respond(call.status());
  }
  // The reply is written while the step is being stored, and sent afterwards.
  (*session)->Forward(
      *std::move(call), [respond, session = *session](
                            absl::StatusOr<session::ForwardResult> result) {
        if (!result.ok()) return respond(result.status());
        if (result->replayed) respond.AddTrailer("replayed", "true");
        const session::Journal::Change change = result->change;
        session->WhenItLasts(change,
                             respond.Prepare(ToProto(*std::move(result))));
      });
}

}  // namespace batchnorm::rpc
