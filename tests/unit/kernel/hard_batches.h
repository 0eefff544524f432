// Batches on which batch normalization goes wrong, one kind a channel.
#ifndef BATCHNORMD_TESTS_UNIT_KERNEL_HARD_BATCHES_H_
#define BATCHNORMD_TESTS_UNIT_KERNEL_HARD_BATCHES_H_

#include <random>
#include <string>
#include <vector>

#include "server/kernel/tensor_view.h"

namespace batchnorm::kernel {

struct HardChannel {
  std::string name;
  std::vector<double> x;   // as the dtype holds them
  std::vector<double> dy;  // likewise
};

using Random = std::mt19937_64;

// Every kind of hard x, each with an ordinary and a hard dy, of n values each.
std::vector<HardChannel> HardChannels(Dtype dtype, std::size_t n,
                                      Random& random);

// The channels as the columns of an N x C tensor's values.
std::vector<double> XColumns(const std::vector<HardChannel>& channels);
std::vector<double> DyColumns(const std::vector<HardChannel>& channels);

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_TESTS_UNIT_KERNEL_HARD_BATCHES_H_
