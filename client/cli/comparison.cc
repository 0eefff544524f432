#include "client/cli/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "client/cli/precision.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<std::int64_t> IndexOf(std::size_t flat,
                                  const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const auto size = static_cast<std::size_t>(shape[axis]);
    index[axis] = static_cast<std::int64_t>(flat % size);
    flat /= size;
  }
  return index;
}

// One element of theirs and the truth about it.
struct Pair {
  double theirs;
  double exact;    // to about 53 bits
  double nearest;  // `exact` in their type
};

bool IsFinite(const Pair& pair) {
  return std::isfinite(pair.theirs) && std::isfinite(pair.nearest);
}

// For pairs with a NaN or an infinity.
bool IsSame(const Pair& pair) {
  if (std::isnan(pair.nearest)) return std::isnan(pair.theirs);
  return pair.theirs == pair.nearest;
}

bool IsIdentical(const Pair& pair) {
  return IsFinite(pair) ? pair.theirs == pair.nearest : IsSame(pair);
}

double FiniteOr(double value, double otherwise) {
  return std::isfinite(value) ? value : otherwise;
}

// error / bound, where 0 / 0 is within every bound.
double Share(double error, double bound) {
  if (error == 0) return 0;
  return bound > 0 ? error / bound : kInfinity;
}

// Collects what is known of each pair.
class Tally {
 public:
  Tally(Dtype dtype, const Expected& expected, const Tolerance& tolerance)
      : dtype_(dtype), expected_(expected), tolerance_(tolerance) {}

  void Add(std::size_t i, const Pair& pair) {
    ++result_.elements;
    result_.nonfinite += std::isfinite(pair.theirs) ? 0 : 1;
    result_.true_nonfinite += std::isfinite(pair.nearest) ? 0 : 1;
    result_.identical += IsIdentical(pair) ? 1 : 0;
    const double share = IsFinite(pair) ? Measure(i, pair)
                         : IsSame(pair) ? 0
                                        : kInfinity;
    if (!(share <= 1)) ++result_.failed;
    if (i == 0 || share > result_.worst_of_bound) Remember(i, pair, share);
  }

  Comparison Finish(const std::vector<std::int64_t>& shape) {
    if (result_.elements > 0) result_.worst_index = IndexOf(worst_, shape);
    result_.pass = result_.failed == 0;
    return result_;
  }

 private:
  // The error as a multiple of its bound.
  double Measure(std::size_t i, const Pair& pair) {
    // A true value that rounds to a finite number of their type is finite.
    const double error = std::abs(pair.theirs - pair.exact);
    const double size = std::abs(pair.exact);
    const double ulp = Ulp(FiniteOr(expected_.magnitude(i), size), dtype_);
    result_.max_abs = std::max(result_.max_abs, error);
    result_.max_ulp = std::max(result_.max_ulp, error / ulp);
    if (size > 0) result_.max_rel = std::max(result_.max_rel, error / size);
    if (const auto& relative = tolerance_.relative) {
      return Share(error, relative->atol + relative->rtol * size);
    }
    const double slack =
        tolerance_.with_slack ? FiniteOr(expected_.slack(i), 0) : 0;
    return Share(error, tolerance_.ulps * ulp + slack);
  }

  void Remember(std::size_t i, const Pair& pair, double share) {
    worst_ = i;
    result_.worst = pair.theirs;
    result_.worst_true = pair.exact;
    result_.worst_of_bound = share;
  }

  Dtype dtype_;
  const Expected& expected_;
  const Tolerance& tolerance_;
  std::size_t worst_ = 0;
  Comparison result_;
};

// Why the tensors cannot be compared; "" if they can.
std::string ShapeProblem(const Tensor& theirs, const Expected& expected) {
  if (expected.per_channel) {
    const auto count = ElementCount(theirs.shape);
    if (count && static_cast<std::size_t>(*count) == expected.values.size()) {
      return "";
    }
    return fmt::format("shape {}, expected {} values, one a channel",
                       ShapeText(theirs.shape), expected.values.size());
  }
  if (theirs.shape == expected.shape) return "";
  return fmt::format("shape {}, expected {}", ShapeText(theirs.shape),
                     ShapeText(expected.shape));
}

}  // namespace

Comparison Compare(const Tensor& theirs, const Expected& expected,
                   const Tolerance& tolerance) {
  Comparison unlike;
  unlike.problem = ShapeProblem(theirs, expected);
  if (!unlike.problem.empty()) return unlike;
  const std::vector<double> values = ToDoubles(theirs);
  Tally tally(theirs.dtype, expected, tolerance);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double exact = expected.values[i];
    tally.Add(i, {values[i], exact, Rounded(exact, theirs.dtype)});
  }
  return tally.Finish(theirs.shape);
}

}  // namespace batchnorm::cli
