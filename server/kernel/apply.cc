#include <cassert>
#include <cstddef>

#include "server/kernel/batch_norm.h"
#include "server/kernel/box.h"
#include "server/kernel/caches.h"
#include "server/kernel/coefficients.h"
#include "server/kernel/fast_apply.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/readable_apply.h"
#include "server/kernel/work_split.h"

namespace batchnorm::kernel {
namespace {

// More than one, so that a thread that is held up elsewhere delays less.
constexpr std::int64_t kPartsAThread = 4;

// How far ahead elements are fetched that come from memory.
constexpr std::int64_t kFetchedAhead = 2048;

ChannelRange AllOf(const Statistics& statistics) {
  return {0, statistics.mean.size()};
}

// The boxes of the block at flat offset `first`, shared among the workers.
void ApplyBlock(const ChannelLayout& layout, std::int64_t first,
                std::int64_t size, Formula formula, const ApplyTensors& tensors,
                const Coefficients& coefficients, ApplyOptions options,
                Workers& workers) {
  ForEachBox(layout, first, first + size, [&](Box box) {
    box.offset -= first;
    ForEachPart(box, kPartsAThread, workers, [&](const Box& part, auto) {
      ApplyBox(formula, tensors, part, coefficients, options);
    });
  });
}

}  // namespace

void ApplyForward(const ChannelLayout& layout, std::int64_t first, TensorView x,
                  const Statistics& statistics, std::span<const double> gamma,
                  std::span<const double> beta, MutableTensorView y,
                  Workers& workers) {
  assert(x.size() == y.size() && x.dtype == y.dtype);
  const ChannelRange all = AllOf(statistics);
  if (!AreUnscaled(statistics, all)) {
    return readable::ApplyForward(layout, first, x, statistics, gamma, beta, y);
  }
  const FloatingPointScope scope;
  Coefficients coefficients = ForwardRoom(all.end);
  SetForward(statistics, gamma, beta, all, coefficients);
  // A batch whose statistics are finite is finite.
  const bool may_be_nan =
      statistics.count == 0 || AnyIsNotFinite(coefficients, 0, all.end);
  const ApplyTensors tensors = {x.dtype, x.bytes.data(), nullptr,
                                y.bytes.data()};
  ApplyBlock(layout, first, x.size(), Formula::kForward, tensors, coefficients,
             {.streams = StreamsOutput(y.bytes.size()),
              .may_be_nan = may_be_nan,
              .ahead = IsFetched(x.bytes.size()) ? kFetchedAhead : 0},
             workers);
}

void ApplyBackward(const ChannelLayout& layout, std::int64_t first,
                   TensorView x, TensorView dy, const Statistics& statistics,
                   const Gradients& gradients, std::span<const double> gamma,
                   MutableTensorView dx, Workers& workers) {
  assert(x.size() == dy.size() && x.size() == dx.size() && x.dtype == dx.dtype);
  const ChannelRange all = AllOf(statistics);
  if (x.dtype != dy.dtype || !AreUnscaled(statistics, all)) {
    return readable::ApplyBackward(layout, first, x, dy, statistics, gradients,
                                   gamma, dx);
  }
  const FloatingPointScope scope;
  Coefficients coefficients = BackwardRoom(all.end);
  SetBackward(statistics, gradients, gamma, all, coefficients);
  const bool inference = statistics.count == 0;
  const bool may_be_nan = inference || AnyIsNotFinite(coefficients, 0, all.end);
  const ApplyTensors tensors = {x.dtype, x.bytes.data(), dy.bytes.data(),
                                dx.bytes.data()};
  ApplyBlock(layout, first, x.size(),
             inference ? Formula::kInferenceBackward : Formula::kBackward,
             tensors, coefficients,
             {.streams = StreamsGradient(dx.bytes.size()),
              .may_be_nan = may_be_nan,
              .ahead = PairIsFetched(x.bytes.size()) ? kFetchedAhead : 0},
             workers);
}

}  // namespace batchnorm::kernel
