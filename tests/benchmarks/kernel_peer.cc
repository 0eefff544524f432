#include "tests/benchmarks/kernel_peer.h"

#include <memory>

#include "server/kernel/train.h"

namespace batchnorm::benchmark {
namespace {

using kernel::Degenerate;

kernel::TrainBatch Forward(const Contest& contest, const Inputs& inputs,
                           const kernel::ChannelLayout& layout) {
  const std::int64_t size = contest.problem.shape.size();
  return kernel::TrainForward(
      layout, inputs.x.View(inputs.dtype, size), kEps, Degenerate::kIeee,
      contest.parameters.wide_gamma, contest.parameters.wide_beta,
      contest.buffers.out.MutableView(inputs.dtype, size), contest.workers);
}

void Backward(const Contest& contest, const Inputs& inputs,
              const kernel::ChannelLayout& layout,
              const kernel::TrainBatch& batch) {
  const std::int64_t size = contest.problem.shape.size();
  kernel::TrainBackward(layout, inputs.x.View(inputs.dtype, size),
                        inputs.dy.View(inputs.dtype, size), batch, kEps,
                        Degenerate::kIeee, contest.parameters.wide_gamma,
                        contest.buffers.out.MutableView(inputs.dtype, size),
                        contest.workers);
}

}  // namespace

Peer KernelPeer(const Contest& contest, const char* name,
                const Inputs& inputs) {
  const kernel::ChannelLayout layout = contest.problem.KernelLayout();
  if (contest.is_forward()) {
    return {name, contest.threads(), Timed([contest, layout, &inputs] {
              Forward(contest, inputs, layout);
            })};
  }
  const auto batch = std::make_shared<const kernel::TrainBatch>(
      Forward(contest, inputs, layout));
  return {name, contest.threads(), Timed([contest, layout, &inputs, batch] {
            Backward(contest, inputs, layout, *batch);
          })};
}

}  // namespace batchnorm::benchmark
