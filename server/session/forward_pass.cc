#include "server/session/forward_pass.h"

#include <span>
#include <utility>

#include "server/session/policy.h"

namespace batchnorm::session {

namespace {

std::shared_ptr<const KeptInput> InputToKeep(
    const Tensor& x, const CheckedInput& input,
    std::shared_ptr<const kernel::TrainBatch> batch, KeptInputPolicy policy) {
  if (policy == KeptInputPolicy::kDiscard) return nullptr;
  return std::make_shared<const KeptInput>(
      KeptInput{x, input.layout, input.gamma, std::move(batch)});
}

absl::Status Refuse(const Tensor& x, const kernel::ChannelLayout& layout,
                    const kernel::TrainBatch& batch,
                    const SessionConfig& config) {
  if (config.non_finite_policy == NonFinitePolicy::kReject) {
    absl::Status finite = RefuseNonFinite(x, layout, batch.statistics);
    if (!finite.ok()) return finite;
  }
  return RefuseDegenerate(batch.sums, config.normalization);
}

}  // namespace

absl::StatusOr<Batch> NormalizeBatch(const ForwardCall& call,
                                     const CheckedForward& checked,
                                     const SessionConfig& config,
                                     kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  const Normalization& constants = config.normalization;
  const CheckedInput& input = checked.input;
  Batch result;
  result.y.resize(call.x.view().bytes.size());
  result.batch = std::make_shared<const kernel::TrainBatch>(TrainForward(
      input.layout, call.x.view(), constants.eps,
      ToKernel(constants.degenerate_policy), input.gamma, checked.beta,
      {call.x.dtype, std::as_writable_bytes(std::span(result.y))}, workers));
  absl::Status refused = Refuse(call.x, input.layout, *result.batch, config);
  if (!refused.ok()) return refused;

  result.new_weight =
      call.new_weight.has_value() ? call.new_weight : constants.new_weight;
  result.fingerprint = {
      .input = InputDigest(call.rank, call.x.dtype, call.x.shape, input.gamma,
                           result.batch->sums.Serialize()),
      .parameters = ParameterDigest(result.new_weight, checked.beta)};
  result.kept =
      InputToKeep(call.x, input, result.batch, config.kept_input_policy);
  return result;
}

std::string Normalize(const Tensor& x, const CheckedForward& checked,
                      const kernel::Statistics& statistics,
                      kernel::Workers& workers) {
  const kernel::Workers::Timer timer(workers);
  std::string y(x.view().bytes.size(), '\0');
  ApplyForward(checked.input.layout, 0, x.view(), statistics,
               checked.input.gamma, checked.beta,
               {x.dtype, std::as_writable_bytes(std::span(y))}, workers);
  return y;
}

}  // namespace batchnorm::session
