#include "client/cli/demo_gradient_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace batchnorm::cli {
namespace {

using Doubles = std::vector<double>;
using Input = Doubles GradientProbe::*;  // x, gamma or beta

// Steps of x, in standard deviations of its channel. What extrapolation leaves
// over falls with the fourth power of it, what rounding adds rises with its
// inverse.
constexpr double kStep = 0x1p-6;

Tensor ToTensor(const Doubles& values, std::size_t rows, std::size_t channels) {
  return MakeTensor(
      std::span<const double>(values),
      {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(channels)});
}

client::EvaluateArgs Arguments(const GradientProbe& probe) {
  client::EvaluateArgs args;
  args.x = ToTensor(probe.x, probe.rows, probe.channels);
  args.gamma = MakeTensor(std::span<const double>(probe.gamma),
                          {static_cast<std::int64_t>(probe.channels)});
  args.beta = MakeTensor(std::span<const double>(probe.beta),
                         {static_cast<std::int64_t>(probe.channels)});
  return args;
}

// What the service says the gradients are.
struct Analytic {
  Doubles dx;
  Doubles dgamma;
  Doubles dbeta;
  Doubles inv_std;
};

absl::StatusOr<Analytic> GradientsOf(client::EvaluateResult result,
                                     std::size_t channels) {
  if (!result.dx || !result.dgamma || !result.dbeta || !result.statistics ||
      result.statistics->inv_std.size() != channels) {
    return absl::InternalError(
        "expected statistics and gradients of every channel back");
  }
  return Analytic{.dx = ToDoubles(*result.dx),
                  .dgamma = *std::move(result.dgamma),
                  .dbeta = *std::move(result.dbeta),
                  .inv_std = std::move(result.statistics->inv_std)};
}

// Differentiates the y of one probe numerically. Channels do not see each
// other, so each difference moves one value in every channel at once.
class Differentiator {
 public:
  Differentiator(const client::Client& client, const GradientProbe& probe)
      : client_(client), probe_(probe) {}

  // By `count` values of each channel of x, gamma or beta, whose rows are moved
  // by `steps` one after another.
  absl::StatusOr<Doubles> Gradient(Input input, const Doubles& steps) {
    Doubles gradient;
    for (std::size_t row = 0; row < (probe_.*input).size();
         row += probe_.channels) {
      auto derivative = Extrapolated(input, row, steps);
      if (!derivative.ok()) return derivative;
      gradient.insert(gradient.end(), derivative->begin(), derivative->end());
    }
    return gradient;
  }

  absl::StatusOr<Analytic> FromService() {
    client::EvaluateArgs args = Arguments(probe_);
    args.dy = ToTensor(probe_.weights, probe_.rows, probe_.channels);
    ++evaluations_;
    auto result = client_.Evaluate(std::move(args));
    if (!result.ok()) return result.status();
    return GradientsOf(*std::move(result), probe_.channels);
  }

  std::int64_t evaluations() const { return evaluations_; }

 private:
  // (4 d(h/2) - d(h)) / 3: the errors of order h^2 cancel.
  absl::StatusOr<Doubles> Extrapolated(Input input, std::size_t row,
                                       Doubles steps) {
    const auto whole = CentralDifference(input, row, steps);
    if (!whole.ok()) return whole.status();
    for (double& step : steps) step /= 2;
    auto half = CentralDifference(input, row, steps);
    if (!half.ok()) return half;
    for (std::size_t c = 0; c < half->size(); ++c) {
      (*half)[c] = (4 * (*half)[c] - (*whole)[c]) / 3;
    }
    return half;
  }

  // (loss(v + h) - loss(v - h)) / 2h, for one value v of every channel.
  absl::StatusOr<Doubles> CentralDifference(Input input, std::size_t row,
                                            const Doubles& steps) {
    GradientProbe above = probe_;
    GradientProbe below = probe_;
    Doubles distance(probe_.channels);
    for (std::size_t c = 0; c < probe_.channels; ++c) {
      (above.*input)[row + c] += steps[c];
      (below.*input)[row + c] -= steps[c];
      // As rounded, not as wished.
      distance[c] = (above.*input)[row + c] - (below.*input)[row + c];
    }
    auto rise = LossDifference(above, below);
    if (!rise.ok()) return rise;
    for (std::size_t c = 0; c < distance.size(); ++c) (*rise)[c] /= distance[c];
    return rise;
  }

  // Each channel's part of sum(weights * (y_above - y_below)).
  absl::StatusOr<Doubles> LossDifference(const GradientProbe& above,
                                         const GradientProbe& below) {
    const auto y_above = Y(above);
    if (!y_above.ok()) return y_above.status();
    const auto y_below = Y(below);
    if (!y_below.ok()) return y_below.status();
    Doubles difference(probe_.channels);
    for (std::size_t i = 0; i < probe_.weights.size(); ++i) {
      difference[i % probe_.channels] +=
          probe_.weights[i] * ((*y_above)[i] - (*y_below)[i]);
    }
    return difference;
  }

  absl::StatusOr<Doubles> Y(const GradientProbe& probe) {
    client::EvaluateArgs args = Arguments(probe);
    args.outputs = {client::Output::kY};
    ++evaluations_;
    const auto result = client_.Evaluate(std::move(args));
    if (!result.ok()) return result.status();
    Doubles y = ToDoubles(result->y.value_or(Tensor()));
    if (y.size() == probe.x.size()) return y;
    return absl::InternalError(absl::StrCat("expected ", probe.x.size(),
                                            " values of y, got ", y.size()));
  }

  const client::Client& client_;
  const GradientProbe& probe_;
  std::int64_t evaluations_ = 0;
};

GradientError Compare(const Doubles& analytic, const Doubles& numerical) {
  GradientError error{.elements = numerical.size()};
  const double wrong = std::numeric_limits<double>::infinity();
  if (analytic.size() != numerical.size()) return {error.elements, wrong};
  double largest = 0;
  double difference = 0;
  for (std::size_t i = 0; i < numerical.size(); ++i) {
    const double d = std::abs(analytic[i] - numerical[i]);
    if (std::isnan(d)) return {error.elements, wrong};
    difference = std::max(difference, d);
    largest = std::max(largest, std::abs(numerical[i]));
  }
  error.relative = difference == 0 ? 0 : difference / largest;
  return error;
}

}  // namespace

absl::StatusOr<GradientErrors> CheckGradients(const client::Client& client,
                                              const GradientProbe& probe) {
  Differentiator service(client, probe);
  const auto analytic = service.FromService();
  if (!analytic.ok()) return analytic.status();
  Doubles steps;
  for (double inv_std : analytic->inv_std) steps.push_back(kStep / inv_std);
  // y is linear in gamma and beta: any step is right.
  const Doubles ones(probe.channels, 1.0);
  const auto dx = service.Gradient(&GradientProbe::x, steps);
  if (!dx.ok()) return dx.status();
  const auto dgamma = service.Gradient(&GradientProbe::gamma, ones);
  if (!dgamma.ok()) return dgamma.status();
  const auto dbeta = service.Gradient(&GradientProbe::beta, ones);
  if (!dbeta.ok()) return dbeta.status();
  return GradientErrors{.dx = Compare(analytic->dx, *dx),
                        .dgamma = Compare(analytic->dgamma, *dgamma),
                        .dbeta = Compare(analytic->dbeta, *dbeta),
                        .evaluations = service.evaluations()};
}

bool Passes(const GradientErrors& errors) {
  return errors.dx.relative <= kGradientTolerance &&
         errors.dgamma.relative <= kGradientTolerance &&
         errors.dbeta.relative <= kGradientTolerance;
}

}  // namespace batchnorm::cli
