// The fast finishing of any number of channels, and where it is certain.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_FAST_FINISH_RUN_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_FAST_FINISH_RUN_H_

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/kernel/channel_expansions.h"
#include "server/kernel/fast_finish.h"
#include "server/kernel/finish.h"
#include "server/kernel/floating_point_scope.h"
#include "tests/unit/kernel/forced_target.h"

namespace batchnorm::kernel {

using Certain = std::vector<std::uint8_t>;

inline std::size_t Count(const Certain& certain) {
  return static_cast<std::size_t>(
      std::count(certain.begin(), certain.end(), 1));
}

// Calls visit(block) for ranges of channels that can be expanded at a time.
template <typename Visit>
void ForEachBlock(std::size_t channels, const Visit& visit) {
  for (std::size_t c = 0; c < channels; c += kExpandedChannels) {
    visit(ChannelRange{c, std::min(c + kExpandedChannels, channels)});
  }
}

template <typename T>
std::span<T> Part(std::vector<T>& values, ChannelRange block) {
  return std::span(values).subspan(block.first, block.size());
}

// `expand(block)` gives the ForwardExpansions of a block.
struct FastStatistics {
  template <typename Expand>
  FastStatistics(const Expand& expand, std::size_t channels, double eps)
      : certain(channels, 2) {
    const FloatingPointScope scope;
    for (auto* vector :
         {&values.mean, &values.mean_lo, &values.var, &values.inv_std,
          &values.scaled_inv_std, &values.scaled_mean_lo}) {
      vector->assign(channels, 0.5);
    }
    values.scale.assign(channels, 1);
    ForEachBlock(channels, [&](ChannelRange block) {
      const ForwardExpansions expansions = expand(block);
      values.count = expansions.count;
      FastFinishForward(expansions, eps, block, values, Part(certain, block));
    });
  }

  Statistics values;
  Certain certain;
};

// As FastStatistics.
struct FastGradients {
  template <typename ExpandX, typename ExpandDy>
  FastGradients(const ExpandX& expand_x, const ExpandDy& expand_dy,
                std::size_t channels, double eps)
      : certain(channels, 2) {
    const FloatingPointScope scope;
    for (auto* vector : {&values.dgamma, &values.dbeta, &values.mean_dy,
                         &values.mean_dy_lo, &values.k}) {
      vector->assign(channels, 0.5);
    }
    ForEachBlock(channels, [&](ChannelRange block) {
      FastFinishBackward(expand_x(block), expand_dy(block), eps, block, values,
                         Part(certain, block));
    });
  }

  Gradients values;
  Certain certain;
};

// Every test runs on one target of Highway after the other.
class OnEachTarget : public testing::TestWithParam<std::int64_t> {
 private:
  const ForcedTarget target_{GetParam()};
};

inline std::string NameOfTarget(
    const testing::TestParamInfo<std::int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_FAST_FINISH_RUN_H_
