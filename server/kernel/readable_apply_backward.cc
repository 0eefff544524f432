#include <cassert>
#include <cmath>
#include <cstddef>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/kernel/centering.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/readable_apply.h"
#include "server/kernel/tensor_blocks.h"

namespace batchnorm::kernel::readable {
namespace {

// What eq. 19 reads of one channel.
struct Channel {
  Center center;
  double mean_dy;
  double mean_dy_lo;
  double k;
  double gain;  // gamma * inv_std, times 2^-scale

  double operator()(double x, double dy) const {
    return Unscale(gain * (((dy - mean_dy) - mean_dy_lo) - center(x) * k));
  }
  // Running statistics are constants: dx does not depend on x, be it NaN.
  double Inference(double dy) const { return Unscale(gain * dy); }

  double Unscale(double value) const {
    if (center.scale == 0) [[likely]] {
      return value;
    }
    return std::ldexp(value, center.scale);
  }
};

std::vector<Channel> Channels(const Statistics& statistics,
                              const Gradients& gradients,
                              std::span<const double> gamma) {
  std::vector<Channel> channels(statistics.mean.size());
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const double scale_of_x_hat = gamma.empty() ? 1.0 : gamma[c];
    channels[c] = {CenterOf(statistics, c), gradients.mean_dy[c],
                   gradients.mean_dy_lo[c], gradients.k[c],
                   scale_of_x_hat * statistics.scaled_inv_std[c]};
  }
  return channels;
}

// Turns the run's values of dy into dx.
void ApplyRun(const ChannelLayout::Run& run,
              const std::vector<Channel>& channels, std::span<const double> x,
              std::span<double> dy) {
  const Channel* channel = &channels[static_cast<std::size_t>(run.channel)];
  if (run.channel_step == 0) {
    const Channel gradient = *channel;
    for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = gradient(x[i], dy[i]);
  } else {
    for (std::size_t i = 0; i < dy.size(); ++i) {
      dy[i] = channel[i](x[i], dy[i]);
    }
  }
}

void ApplyInferenceRun(const ChannelLayout::Run& run,
                       const std::vector<Channel>& channels,
                       std::span<double> dy) {
  const Channel* channel = &channels[static_cast<std::size_t>(run.channel)];
  for (double& value : dy) {
    value = channel->Inference(value);
    channel += run.channel_step;
  }
}

}  // namespace

void ApplyBackward(const ChannelLayout& layout, std::int64_t first,
                   TensorView x, TensorView dy, const Statistics& statistics,
                   const Gradients& gradients, std::span<const double> gamma,
                   MutableTensorView dx) {
  assert(x.size() == dy.size() && x.size() == dx.size() && x.dtype == dx.dtype);
  const FloatingPointScope scope;
  const bool inference = statistics.count == 0;
  const std::vector<Channel> channels = Channels(statistics, gradients, gamma);
  Block x_buffer;
  Block dy_buffer;
  ForEachBlock(x.size(), [&](std::int64_t begin, std::int64_t length) {
    const auto x_block =
        std::span(x_buffer).first(static_cast<std::size_t>(length));
    const auto dy_block =
        std::span(dy_buffer).first(static_cast<std::size_t>(length));
    ReadBlock(x, begin, x_block);
    ReadBlock(dy, begin, dy_block);
    const std::int64_t offset = first + begin;
    layout.ForEachRun(offset, offset + length, [&](const auto& run) {
      const auto at = static_cast<std::size_t>(run.offset - offset);
      const auto run_length = static_cast<std::size_t>(run.length);
      const auto dy_run = dy_block.subspan(at, run_length);
      if (inference) {
        ApplyInferenceRun(run, channels, dy_run);
      } else {
        ApplyRun(run, channels, x_block.subspan(at, run_length), dy_run);
      }
    });
    WriteBlock(dy_block, begin, dx);
  });
}

}  // namespace batchnorm::kernel::readable
