// Somebody's tensor against the true one, element by element.
//
// An element passes if |theirs - true| <= ulps * ulp(magnitude) + slack, the
// ulp being that of their element type (bounds.h says what these are), or
// <= atol + rtol * |true| where the caller asks for that.
//
// NaN equals NaN, and an infinity the same infinity; a true value beyond the
// range of their type equals the infinity it rounds to. Any other pair with a
// NaN or infinity in it fails, under every bound.
//
// Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_COMPARISON_H_
#define BATCHNORMD_CLIENT_CLI_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proto/wire/tensor.h"

namespace batchnorm::cli {

// The true values, and how large an error each may have.
struct Expected {
  std::vector<std::int64_t> shape;
  std::span<const double> values;  // the caller's
  // The size of the terms that element i is made of: its ULP is theirs.
  std::function<double(std::size_t i)> magnitude;
  // What element i may be off because of the numbers it is computed from.
  std::function<double(std::size_t i)> slack;
  // A vector with one element a channel: only their number matters, not the
  // shape.
  bool per_channel = false;
};

struct Tolerance {
  struct Relative {
    double rtol = 0;
    double atol = 0;
  };
  double ulps = 4;
  bool with_slack = true;
  std::optional<Relative> relative = {};  // takes the place of all the above
};

struct Comparison {
  bool pass = false;
  std::string problem;  // why nothing was compared; "" if it was

  std::int64_t elements = 0;
  std::int64_t failed = 0;     // elements out of bounds
  std::int64_t identical = 0;  // those that are the true value, rounded

  // Over pairs of finite numbers. Relative: over true values that are not 0.
  // Ulp: in units of ulp(magnitude).
  double max_abs = 0;
  double max_rel = 0;
  double max_ulp = 0;

  std::int64_t nonfinite = 0;       // NaN and infinities of theirs
  std::int64_t true_nonfinite = 0;  // ... of the truth in their type

  // The element that comes closest to its bound, or exceeds it the most.
  std::vector<std::int64_t> worst_index;
  double worst = 0;  // their value
  double worst_true = 0;
  double worst_of_bound = 0;  // its error as a multiple of its bound
};

Comparison Compare(const Tensor& theirs, const Expected& expected,
                   const Tolerance& tolerance);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_COMPARISON_H_
