#include "server/session/forward_pass.h"

#include <span>
#include <utility>

#include "server/session/policy.h"

namespace batchnorm::session {

namespace {

std::shared_ptr<const KeptInput> InputToKeep(const Tensor& x,
                                             const CheckedInput& input,
                                             std::string sums,
                                             KeptInputPolicy policy) {
  if (policy == KeptInputPolicy::kDiscard) return nullptr;
  return std::make_shared<const KeptInput>(
      KeptInput{x, input.layout, input.gamma, std::move(sums)});
}

absl::Status Refuse(const Tensor& x, const kernel::ChannelLayout& layout,
                    const Batch& batch, const SessionConfig& config) {
  if (config.non_finite_policy == NonFinitePolicy::kReject) {
    absl::Status finite = RefuseNonFinite(x, layout, batch.statistics);
    if (!finite.ok()) return finite;
  }
  return RefuseDegenerate(batch.sums, config.normalization);
}

}  // namespace

absl::StatusOr<Batch> SumBatch(const ForwardCall& call,
                               const CheckedForward& checked,
                               const SessionConfig& config) {
  const Normalization& constants = config.normalization;
  const CheckedInput& input = checked.input;
  kernel::ForwardSums sums(input.layout.channels(), call.x.dtype);
  sums.Add(input.layout, 0, call.x.view());
  kernel::Statistics statistics =
      FinishForward(sums, constants.eps, ToKernel(constants.degenerate_policy));
  Batch batch{.fingerprint = {},
              .sums = std::move(sums),
              .statistics = std::move(statistics),
              .new_weight = call.new_weight.has_value() ? call.new_weight
                                                        : constants.new_weight,
              .kept = nullptr};
  absl::Status refused = Refuse(call.x, input.layout, batch, config);
  if (!refused.ok()) return refused;

  std::string bytes = batch.sums.Serialize();
  batch.fingerprint = {
      .input = InputDigest(call.rank, call.x.dtype, call.x.shape, input.gamma,
                           bytes),
      .parameters = ParameterDigest(batch.new_weight, checked.beta)};
  batch.kept =
      InputToKeep(call.x, input, std::move(bytes), config.kept_input_policy);
  return batch;
}

std::string Normalize(const Tensor& x, const CheckedForward& checked,
                      const kernel::Statistics& statistics) {
  std::string y(x.view().bytes.size(), '\0');
  ApplyForward(checked.input.layout, 0, x.view(), statistics,
               checked.input.gamma, checked.beta,
               {x.dtype, std::as_writable_bytes(std::span(y))});
  return y;
}

}  // namespace batchnorm::session
