#include "server/session/policy.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

std::vector<std::int64_t> IndexOf(std::int64_t flat,
                                  const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    index[i] = flat % shape[i];
    flat /= shape[i];
  }
  return index;
}

double ElementAt(kernel::TensorView tensor, std::int64_t flat) {
  const std::size_t size = SizeOf(tensor.dtype);
  const std::size_t offset = static_cast<std::size_t>(flat) * size;
  return kernel::ToDoubles({tensor.dtype, tensor.bytes.subspan(offset, size)})
      .front();
}

absl::Status NonFinite(const Tensor& x, std::int64_t flat,
                       std::int64_t channel) {
  const std::vector<std::int64_t> index = IndexOf(flat, x.shape);
  return MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("x: expected finite numbers, got ",
                   Text(ElementAt(x.view(), flat)), " at ", Text(index),
                   " (flat index ", flat, "), in channel ", channel),
      {.reason = "NON_FINITE_INPUT",
       .field = "x",
       .metadata = {{"channel", absl::StrCat(channel)},
                    {"flat_index", absl::StrCat(flat)},
                    {"index", absl::StrJoin(index, ",")}}});
}

absl::Status FirstNonFinite(const Tensor& x,
                            const kernel::ChannelLayout& layout) {
  const std::optional<std::int64_t> at = kernel::FindNonFinite(x.view());
  if (!at.has_value()) return absl::OkStatus();
  return NonFinite(x, *at, layout.ChannelOf(*at));
}

absl::Status Degenerate(const char* reason, std::int64_t channel,
                        const std::string& text) {
  return MakeError(absl::StatusCode::kInvalidArgument, text,
                   {.reason = reason,
                    .field = "x",
                    .metadata = {{"channel", absl::StrCat(channel)}}});
}

absl::Status TooFewValues(std::int64_t channel) {
  return Degenerate("TOO_FEW_VALUES", channel,
                    absl::StrCat("x: expected more than 1 value a channel, as "
                                 "running_ddof is 1, got 1 in channel ",
                                 channel));
}

absl::Status ZeroVariance(std::int64_t channel) {
  return Degenerate("ZERO_VARIANCE", channel,
                    absl::StrCat("x: expected differing values in each "
                                 "channel, as eps is 0, got a variance of 0 "
                                 "in channel ",
                                 channel));
}

}  // namespace

kernel::Degenerate ToKernel(DegeneratePolicy policy) {
  return policy == DegeneratePolicy::kUnitCorrection
             ? kernel::Degenerate::kUnitCorrection
             : kernel::Degenerate::kIeee;
}

absl::Status RefuseNonFinite(const Tensor& x,
                             const kernel::ChannelLayout& layout,
                             const kernel::Statistics& statistics) {
  // The mean of finite numbers is finite: only where one is not is there
  // anything to search for.
  const auto& mean = statistics.mean;
  if (std::all_of(mean.begin(), mean.end(),
                  [](double m) { return std::isfinite(m); })) {
    return absl::OkStatus();
  }
  return FirstNonFinite(x, layout);
}

absl::Status RefuseNonFinite(const Tensor& x,
                             const kernel::ChannelLayout& layout,
                             const kernel::ForwardSums& sums) {
  for (std::int64_t channel = 0; channel < sums.channels(); ++channel) {
    if (!sums.totals(channel).is_finite()) return FirstNonFinite(x, layout);
  }
  return absl::OkStatus();
}

absl::Status RefuseDegenerate(const kernel::ForwardSums& sums,
                              const Normalization& normalization) {
  if (normalization.degenerate_policy != DegeneratePolicy::kReject) {
    return absl::OkStatus();
  }
  const std::optional<kernel::Degeneracy> found = FindDegeneracy(
      sums, normalization.eps, static_cast<int>(normalization.running_ddof));
  if (!found.has_value()) return absl::OkStatus();
  return found->kind == kernel::Degeneracy::Kind::kTooFewValues
             ? TooFewValues(found->channel)
             : ZeroVariance(found->channel);
}

absl::Status RefuseRunning(std::span<const double> running_var,
                           const Normalization& normalization) {
  if (normalization.degenerate_policy != DegeneratePolicy::kReject) {
    return absl::OkStatus();
  }
  const double eps = normalization.eps;
  const auto bad =
      std::find_if(running_var.begin(), running_var.end(),
                   [eps](double var) { return var < 0 || var + eps == 0; });
  if (bad == running_var.end()) return absl::OkStatus();
  const std::int64_t channel = bad - running_var.begin();
  return Degenerate("ZERO_VARIANCE", channel,
                    absl::StrCat("x: expected a running variance of at least 0 "
                                 "and, plus eps, above 0, got ",
                                 Text(*bad), " with eps ", Text(eps),
                                 " in channel ", channel));
}

}  // namespace batchnorm::session
