#include <algorithm>
#include <cmath>
#include <cstddef>

#include "server/kernel/batch_norm.h"
#include "server/kernel/floating_point_scope.h"
#include "server/kernel/tensor_blocks.h"

namespace batchnorm::kernel {

std::optional<std::int64_t> FindNonFinite(TensorView x) {
  const FloatingPointScope scope;
  Block buffer;
  std::optional<std::int64_t> found;
  ForEachBlock(x.size(), [&](std::int64_t first, std::int64_t length) {
    if (found) return;
    const auto values =
        std::span(buffer).first(static_cast<std::size_t>(length));
    ReadBlock(x, first, values);
    const auto at = std::find_if(values.begin(), values.end(),
                                 [](double v) { return !std::isfinite(v); });
    if (at != values.end()) found = first + (at - values.begin());
  });
  return found;
}

std::vector<double> ToDoubles(TensorView tensor) {
  const FloatingPointScope scope;
  std::vector<double> values(static_cast<std::size_t>(tensor.size()));
  ReadBlock(tensor, 0, values);
  return values;
}

}  // namespace batchnorm::kernel
