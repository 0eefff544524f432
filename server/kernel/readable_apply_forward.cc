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

// What eq. 18 reads of one channel.
struct Channel {
  Center center;
  double gain;  // gamma * inv_std, times 2^-scale
  double beta;

  double operator()(double x) const { return gain * center(x) + beta; }
};

std::vector<Channel> Channels(const Statistics& statistics,
                              std::span<const double> gamma,
                              std::span<const double> beta) {
  std::vector<Channel> channels(statistics.mean.size());
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const double scale_of_x_hat = gamma.empty() ? 1.0 : gamma[c];
    channels[c] = {CenterOf(statistics, c),
                   scale_of_x_hat * statistics.scaled_inv_std[c],
                   beta.empty() ? 0.0 : beta[c]};
  }
  return channels;
}

void ApplyRun(const ChannelLayout::Run& run,
              const std::vector<Channel>& channels, std::span<double> values) {
  const Channel* channel = &channels[static_cast<std::size_t>(run.channel)];
  if (run.channel_step == 0) {
    const Channel normalize = *channel;
    for (double& value : values) value = normalize(value);
  } else {
    for (double& value : values) value = (*channel++)(value);
  }
}

}  // namespace

void ApplyForward(const ChannelLayout& layout, std::int64_t first, TensorView x,
                  const Statistics& statistics, std::span<const double> gamma,
                  std::span<const double> beta, MutableTensorView y) {
  assert(x.size() == y.size() && x.dtype == y.dtype);
  const FloatingPointScope scope;
  const std::vector<Channel> channels = Channels(statistics, gamma, beta);
  Block buffer;
  ForEachBlock(x.size(), [&](std::int64_t begin, std::int64_t length) {
    const auto values =
        std::span(buffer).first(static_cast<std::size_t>(length));
    ReadBlock(x, begin, values);
    const std::int64_t offset = first + begin;
    layout.ForEachRun(offset, offset + length, [&](const auto& run) {
      ApplyRun(run, channels,
               values.subspan(static_cast<std::size_t>(run.offset - offset),
                              static_cast<std::size_t>(run.length)));
    });
    WriteBlock(values, begin, y);
  });
}

}  // namespace batchnorm::kernel::readable
