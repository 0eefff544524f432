#include "client/cli/bounds.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "client/cli/channel_index.h"
#include "client/cli/precision.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

using Vector = std::vector<double>;

// What rounding alone may do to a number made of a few operations, in epsilons.
constexpr double kFewRoundings = 4;
// A sum kept in this many lanes, added to one by one: the errors of n additions
// to a growing sum walk at random over about sqrt(n) / 8 epsilons, those of
// lanes cancel among them, and four standard deviations are allowed.
constexpr double kLanes = 32;
// However badly conditioned the batch: nobody calls it decent to be off by more
// than this part of a standard deviation.
constexpr double kMostOfDeviation = 1.0 / 16;

double GrowthOf(double terms) {
  return kFewRoundings + 4 * std::sqrt(terms) / 8 / kLanes;
}

// 16-bit kernels compute in f32 and round at the end.
double ComputingEpsilon(Dtype dtype) {
  return Epsilon(dtype == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32);
}

std::optional<Vector> DoublesOr(const std::optional<Tensor>& tensor) {
  if (!tensor) return std::nullopt;
  return ToDoubles(*tensor);
}

Vector PerChannelOr(const std::optional<Tensor>& tensor, std::size_t channels,
                    double value) {
  return tensor ? ToDoubles(*tensor) : Vector(channels, value);
}

// Errors that are allowed in the numbers of a channel.
struct Allowance {
  double mean;     // absolute
  double var;      // absolute
  double inv_std;  // relative
  double shift;    // of every x_hat, because of the mean
  double sum;      // of a sum over the channel, relative to sum|terms|
};

}  // namespace

struct TruthOfBatch::Batch {
  Batch(const client::EvaluateArgs& args, client::EvaluateResult answer);

  double XHat(std::size_t i, std::size_t c) const;
  bool IsTrain() const { return mode == client::Mode::kTrain; }
  Allowance AllowanceOf(std::size_t c, double epsilon) const;
  // One a channel, for results of type `dtype`.
  std::vector<Allowance> AllowancesFor(Dtype dtype) const;
  double NewWeight() const;
  double VarianceFactor() const;

  void SumUp();

  // What is allowed in x_hat of element i; in dgamma of channel c.
  double XHatSlack(std::size_t i, std::size_t c, const Allowance& a) const;
  double DgammaSlack(std::size_t c, const Allowance& a) const;
  double DxSlack(std::size_t i, std::size_t c, const Allowance& a) const;
  // T of the header.
  double DxTerms(std::size_t i, std::size_t c) const;

  Expected Elementwise(const Vector& values) const;
  Expected PerChannel(const Vector& values) const;
  std::optional<Expected> ExpectY(Dtype dtype) const;
  std::optional<Expected> ExpectDx(Dtype dtype) const;
  std::optional<Expected> ExpectStatistics(Role role, Dtype dtype) const;
  std::optional<Expected> ExpectRunning(Role role, Dtype dtype) const;
  std::optional<Expected> ExpectGradients(Role role, Dtype dtype) const;

  std::vector<std::int64_t> shape;
  ChannelIndex channel;
  client::Mode mode;
  client::Normalization constants;
  client::RunningStatistics before;
  Vector x, dy, gamma, beta;
  client::BatchStatistics statistics;
  std::optional<client::RunningStatistics> after;
  std::optional<Vector> y, dx;
  bool has_gradients;
  Vector dgamma, dbeta;
  double n = 0;  // values per channel, in either mode
  // sum|x|, sum|dy|, sum|dy x_hat| of each channel, divided by n.
  Vector mean_abs_x, mean_abs_dy, mean_abs_dy_x_hat;
};

TruthOfBatch::Batch::Batch(const client::EvaluateArgs& args,
                           client::EvaluateResult answer)
    : shape(args.x.shape),
      channel(shape, args.normalization.channel_axes),
      mode(args.mode),
      constants(args.normalization),
      x(ToDoubles(args.x)),
      statistics(
          std::move(answer.statistics).value_or(client::BatchStatistics{})),
      after(std::move(answer.running_statistics)),
      y(DoublesOr(answer.y)),
      dx(DoublesOr(answer.dx)),
      has_gradients(answer.dgamma && answer.dbeta),
      dgamma(std::move(answer.dgamma).value_or(Vector())),
      dbeta(std::move(answer.dbeta).value_or(Vector())) {
  const std::size_t channels = statistics.mean.size();
  gamma = PerChannelOr(args.gamma, channels, 1);
  beta = PerChannelOr(args.beta, channels, 0);
  before = args.running_statistics.value_or(
      client::RunningStatistics{Vector(channels, 0), Vector(channels, 1), 0});
  if (args.dy) dy = ToDoubles(*args.dy);
  if (channels > 0) {
    n = static_cast<double>(x.size()) / static_cast<double>(channels);
  }
  SumUp();
}

void TruthOfBatch::Batch::SumUp() {
  const std::size_t channels = statistics.mean.size();
  mean_abs_x.resize(channels);
  mean_abs_dy.resize(channels);
  mean_abs_dy_x_hat.resize(channels);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = channel(i);
    mean_abs_x[c] += std::abs(x[i]) / n;
    if (dy.empty()) continue;
    mean_abs_dy[c] += std::abs(dy[i]) / n;
    mean_abs_dy_x_hat[c] += std::abs(dy[i] * XHat(i, c)) / n;
  }
}

double TruthOfBatch::Batch::XHat(std::size_t i, std::size_t c) const {
  return ((x[i] - statistics.mean[c]) - statistics.mean_lo[c]) *
         statistics.inv_std[c];
}

Allowance TruthOfBatch::Batch::AllowanceOf(std::size_t c,
                                           double epsilon) const {
  const double inv_std = statistics.inv_std[c];
  Allowance a = {};
  a.sum = GrowthOf(n) * epsilon;
  a.mean = IsTrain() ? a.sum * mean_abs_x[c]
                     : kFewRoundings * epsilon * std::abs(statistics.mean[c]);
  if (IsTrain()) {
    const double var = statistics.var[c];
    const double rounded_mean =
        kFewRoundings * epsilon * mean_abs_x[c] * std::sqrt(var / n);
    a.var = a.sum * var + std::min(rounded_mean + a.mean * a.mean,
                                   (var + constants.eps) * kMostOfDeviation);
  }
  a.inv_std = kFewRoundings * epsilon + a.var * inv_std * inv_std / 2;
  a.shift = std::min(a.mean * inv_std, kMostOfDeviation);
  return a;
}

std::vector<Allowance> TruthOfBatch::Batch::AllowancesFor(Dtype dtype) const {
  std::vector<Allowance> allowances;
  allowances.reserve(statistics.mean.size());
  for (std::size_t c = 0; c < statistics.mean.size(); ++c) {
    allowances.push_back(AllowanceOf(c, ComputingEpsilon(dtype)));
  }
  return allowances;
}

double TruthOfBatch::Batch::NewWeight() const {
  return constants.new_weight.value_or(
      1.0 / (static_cast<double>(before.batch_count) + 1));
}

double TruthOfBatch::Batch::VarianceFactor() const {
  return n / std::max(n - constants.running_ddof, 1.0);
}

double TruthOfBatch::Batch::XHatSlack(std::size_t i, std::size_t c,
                                      const Allowance& a) const {
  return a.inv_std * std::abs(XHat(i, c)) + a.shift;
}

double TruthOfBatch::Batch::DgammaSlack(std::size_t c,
                                        const Allowance& a) const {
  return (a.sum + a.inv_std) * n * mean_abs_dy_x_hat[c] +
         a.shift * std::abs(dbeta[c]);
}

double TruthOfBatch::Batch::DxTerms(std::size_t i, std::size_t c) const {
  if (!IsTrain()) return std::abs(dy[i]);
  return std::abs(dy[i] - dbeta[c] / n) + std::abs(XHat(i, c) * dgamma[c] / n);
}

double TruthOfBatch::Batch::DxSlack(std::size_t i, std::size_t c,
                                    const Allowance& a) const {
  const double terms = a.inv_std * DxTerms(i, c);
  if (!IsTrain()) return terms;
  return terms + a.sum * mean_abs_dy[c] +
         std::abs(XHat(i, c)) * DgammaSlack(c, a) / n +
         XHatSlack(i, c, a) * std::abs(dgamma[c] / n);
}

Expected TruthOfBatch::Batch::Elementwise(const Vector& values) const {
  Expected expected;
  expected.shape = shape;
  expected.values = values;
  return expected;
}

Expected TruthOfBatch::Batch::PerChannel(const Vector& values) const {
  Expected expected;
  expected.shape = {static_cast<std::int64_t>(values.size())};
  expected.values = values;
  expected.per_channel = true;
  expected.magnitude = [&values](std::size_t c) { return std::abs(values[c]); };
  return expected;
}

std::optional<Expected> TruthOfBatch::Batch::ExpectY(Dtype dtype) const {
  if (!y) return std::nullopt;
  const Vector& values = *y;
  Expected expected = Elementwise(values);
  expected.magnitude = [this, &values](std::size_t i) {
    const std::size_t c = channel(i);
    return std::max({std::abs(values[i]), std::abs(gamma[c] * XHat(i, c)),
                     std::abs(beta[c])});
  };
  expected.slack = [this, allowed = AllowancesFor(dtype)](std::size_t i) {
    const std::size_t c = channel(i);
    return std::abs(gamma[c]) * XHatSlack(i, c, allowed[c]);
  };
  return expected;
}

std::optional<Expected> TruthOfBatch::Batch::ExpectDx(Dtype dtype) const {
  if (!dx) return std::nullopt;
  const Vector& values = *dx;
  Expected expected = Elementwise(values);
  const auto factor = [this](std::size_t c) {
    return std::abs(gamma[c]) * statistics.inv_std[c];
  };
  expected.magnitude = [this, &values, factor](std::size_t i) {
    const std::size_t c = channel(i);
    return std::max(std::abs(values[i]), factor(c) * DxTerms(i, c));
  };
  expected.slack = [this, factor,
                    allowed = AllowancesFor(dtype)](std::size_t i) {
    const std::size_t c = channel(i);
    return factor(c) * DxSlack(i, c, allowed[c]);
  };
  return expected;
}

std::optional<Expected> TruthOfBatch::Batch::ExpectStatistics(
    Role role, Dtype dtype) const {
  if (role == Role::kMean) {
    Expected expected = PerChannel(statistics.mean);
    expected.slack = [allowed = AllowancesFor(dtype)](std::size_t c) {
      return allowed[c].mean;
    };
    return expected;
  }
  if (role == Role::kVar) {
    Expected expected = PerChannel(statistics.var);
    expected.slack = [allowed = AllowancesFor(dtype)](std::size_t c) {
      return allowed[c].var;
    };
    return expected;
  }
  Expected expected = PerChannel(statistics.inv_std);
  expected.slack = [this, allowed = AllowancesFor(dtype)](std::size_t c) {
    return allowed[c].inv_std * statistics.inv_std[c];
  };
  return expected;
}

std::optional<Expected> TruthOfBatch::Batch::ExpectRunning(Role role,
                                                           Dtype dtype) const {
  if (!after) return std::nullopt;
  const bool of_mean = role == Role::kRunningMean;
  const double w = NewWeight();
  const double batch_factor = of_mean ? w : w * VarianceFactor();
  const Vector& old = of_mean ? before.mean : before.var;
  const Vector& batch = of_mean ? statistics.mean : statistics.var;
  Expected expected = PerChannel(of_mean ? after->mean : after->var);
  expected.magnitude = [&old, &batch, w, batch_factor](std::size_t c) {
    return std::max(std::abs((1 - w) * old[c]),
                    std::abs(batch_factor * batch[c]));
  };
  expected.slack = [of_mean, batch_factor,
                    allowed = AllowancesFor(dtype)](std::size_t c) {
    const Allowance a = allowed[c];
    return std::abs(batch_factor) * (of_mean ? a.mean : a.var);
  };
  return expected;
}

std::optional<Expected> TruthOfBatch::Batch::ExpectGradients(
    Role role, Dtype dtype) const {
  if (!has_gradients) return std::nullopt;
  const bool of_gamma = role == Role::kDgamma;
  Expected expected = PerChannel(of_gamma ? dgamma : dbeta);
  expected.slack = [this, of_gamma,
                    allowed = AllowancesFor(dtype)](std::size_t c) {
    const Allowance a = allowed[c];
    return of_gamma ? DgammaSlack(c, a) : a.sum * n * mean_abs_dy[c];
  };
  return expected;
}

TruthOfBatch::TruthOfBatch(const client::EvaluateArgs& args,
                           client::EvaluateResult result)
    : batch_(std::make_unique<Batch>(args, std::move(result))) {}

TruthOfBatch::~TruthOfBatch() = default;

double TruthOfBatch::Condition() const {
  double worst = 0;
  for (std::size_t c = 0; c < batch_->mean_abs_x.size(); ++c) {
    worst =
        std::max(worst, batch_->mean_abs_x[c] * batch_->statistics.inv_std[c]);
  }
  return worst;
}

std::optional<Expected> TruthOfBatch::Expect(Role role, Dtype dtype) const {
  switch (role) {
    case Role::kY:
      return batch_->ExpectY(dtype);
    case Role::kDx:
      return batch_->ExpectDx(dtype);
    case Role::kMean:
    case Role::kVar:
    case Role::kInvStd:
      return batch_->ExpectStatistics(role, dtype);
    case Role::kRunningMean:
    case Role::kRunningVar:
      return batch_->ExpectRunning(role, dtype);
    case Role::kDgamma:
    case Role::kDbeta:
      return batch_->ExpectGradients(role, dtype);
    default:
      return std::nullopt;
  }
}

}  // namespace batchnorm::cli
