// The gradients are those of the function: against finite differences in 640
// bits, and against the matrix form of the derivation.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/kernel/matrix_form.h"
#include "tests/unit/kernel/test_tensor.h"
#include "tests/unit/kernel/truth.h"

namespace batchnorm::kernel {
namespace {

using truth::Real;

constexpr double kEps = 1e-3;

using Reals = std::vector<Real>;

// L = sum(dy * y) of one channel: its gradients are dx, dgamma and dbeta.
struct Loss {
  Reals dy;

  Real TrainOf(const Reals& x, const Real& gamma, const Real& beta) const {
    const Real n(static_cast<double>(x.size()));
    Real mean;
    for (const Real& value : x) mean = mean + value / n;
    Real var;
    for (const Real& value : x) {
      var = var + (value - mean) * (value - mean) / n;
    }
    return InferenceOf(x, gamma, beta, mean, var);
  }
  Real InferenceOf(const Reals& x, const Real& gamma, const Real& beta,
                   const Real& mean, const Real& var) const {
    Real loss;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Real x_hat = (x[i] - mean) / Sqrt(var + Real(kEps));
      loss = loss + dy[i] * (gamma * x_hat + beta);
    }
    return loss;
  }
};

// The central difference of f at `at`: with a step of 2^-100 its error is about
// 2^-200 from curvature and 2^-540 from rounding.
double Derivative(const std::function<Real(const Real&)>& f, const Real& at) {
  const Real h = truth::RealPowerOfTwo(-100);
  return ((f(at + h) - f(at - h)) / (Real(2) * h)).ToDouble();
}

struct Channel {
  std::vector<double> x;
  std::vector<double> dy;
  double gamma;
  double beta;
};

Channel RandomChannel(std::size_t n, std::mt19937_64& random) {
  std::normal_distribution<double> normal(0.3, 1.5);
  Channel c = {{}, {}, normal(random), normal(random)};
  for (std::size_t i = 0; i < n; ++i) {
    c.x.push_back(normal(random));
    c.dy.push_back(normal(random));
  }
  return c;
}

Reals RealsOf(const std::vector<double>& values) {
  return Reals(values.begin(), values.end());
}

ChannelLayout OneChannel(const Channel& c) {
  return ChannelLayout(std::vector{static_cast<std::int64_t>(c.x.size())},
                       std::vector<int>{});
}

// The loss of x with its i-th value replaced.
std::function<Real(const Real&)> AlongX(
    const Reals& x, std::size_t i,
    const std::function<Real(const Reals&)>& loss) {
  return [x, i, loss](const Real& value) {
    Reals moved = x;
    moved[i] = value;
    return loss(moved);
  };
}

void ExpectClose(double actual, double expected, double size) {
  EXPECT_NEAR(actual, expected, 1e-14 * (std::abs(expected) + size));
}

TEST(GradientTest, TrainingGradientsAreTheDerivativesOfTheLoss) {
  std::mt19937_64 random(22);
  for (const std::size_t n : {2u, 3u, 5u, 16u}) {
    const Channel c = RandomChannel(n, random);
    const ChannelLayout layout = OneChannel(c);
    const TestTensor x(Dtype::kF64, c.x);
    const TestTensor dy(Dtype::kF64, c.dy);
    const ForwardSums sums = SumsOf(layout, x);
    const Statistics s = FinishForward(sums, kEps, Degenerate::kIeee);
    const Gradients g =
        FinishBackward(sums, SumsOf(layout, x, dy), kEps, Degenerate::kIeee);
    const auto dx =
        Differentiate(layout, x, dy, s, g, std::vector{c.gamma}).values();

    const Loss loss{RealsOf(c.dy)};
    const Reals at = RealsOf(c.x);
    for (std::size_t i = 0; i < n; ++i) {
      const auto along = AlongX(at, i, [&](const Reals& moved) {
        return loss.TrainOf(moved, c.gamma, c.beta);
      });
      ExpectClose(dx[i], Derivative(along, at[i]), 1);
    }
    const auto by_gamma = [&](const Real& gamma) {
      return loss.TrainOf(at, gamma, c.beta);
    };
    const auto by_beta = [&](const Real& beta) {
      return loss.TrainOf(at, c.gamma, beta);
    };
    ExpectClose(g.dgamma[0], Derivative(by_gamma, c.gamma), 0);
    ExpectClose(g.dbeta[0], Derivative(by_beta, c.beta), 0);
  }
}

TEST(GradientTest, InferenceGradientsAreTheDerivativesOfTheLoss) {
  std::mt19937_64 random(23);
  const double mean = 0.2;
  const double var = 1.7;
  const Channel c = RandomChannel(9, random);
  const ChannelLayout layout = OneChannel(c);
  const TestTensor x(Dtype::kF64, c.x);
  const TestTensor dy(Dtype::kF64, c.dy);
  const Statistics s =
      FromRunning(std::vector{mean}, std::vector{var}, kEps, Degenerate::kIeee);
  const Gradients g = FinishInferenceBackward(SumsOf(layout, x, dy), s, kEps,
                                              Degenerate::kIeee);
  const auto dx =
      Differentiate(layout, x, dy, s, g, std::vector{c.gamma}).values();

  const Loss loss{RealsOf(c.dy)};
  const Reals at = RealsOf(c.x);
  for (std::size_t i = 0; i < c.x.size(); ++i) {
    const auto along = AlongX(at, i, [&](const Reals& moved) {
      return loss.InferenceOf(moved, c.gamma, c.beta, mean, var);
    });
    ExpectClose(dx[i], Derivative(along, at[i]), 0);
  }
  const auto by_gamma = [&](const Real& gamma) {
    return loss.InferenceOf(at, gamma, c.beta, mean, var);
  };
  ExpectClose(g.dgamma[0], Derivative(by_gamma, c.gamma), 0);
}

std::vector<double> RowMajor(const matrix_form::Matrix& matrix) {
  std::vector<double> values;
  for (Eigen::Index row = 0; row < matrix.rows(); ++row) {
    for (Eigen::Index column = 0; column < matrix.cols(); ++column) {
      values.push_back(matrix(row, column));
    }
  }
  return values;
}

std::vector<double> Entries(const matrix_form::Row& row) {
  return {row.data(), row.data() + row.size()};
}

void ExpectAllNear(const std::vector<double>& actual,
                   const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-12 * (1 + std::abs(expected[i])));
  }
}

TEST(GradientTest, TheMatrixFormOfTheDerivationAgrees) {
  constexpr int kRows = 37;
  constexpr int kChannels = 5;
  std::srand(24);  // Eigen's random numbers
  const matrix_form::Matrix x = matrix_form::Matrix::Random(kRows, kChannels);
  const matrix_form::Matrix dy = matrix_form::Matrix::Random(kRows, kChannels);
  const matrix_form::Row gamma = matrix_form::Row::Random(kChannels);
  const matrix_form::Row beta = matrix_form::Row::Random(kChannels);
  const auto forward = matrix_form::ComputeForward(x, gamma, beta, kEps);
  const auto backward = matrix_form::ComputeBackward(forward, dy, gamma);

  const ChannelLayout layout(std::vector<std::int64_t>{kRows, kChannels},
                             std::vector{1});
  const TestTensor x_tensor(Dtype::kF64, RowMajor(x));
  const TestTensor dy_tensor(Dtype::kF64, RowMajor(dy));
  const ForwardSums sums = SumsOf(layout, x_tensor);
  const Statistics s = FinishForward(sums, kEps, Degenerate::kIeee);
  const Gradients g = FinishBackward(sums, SumsOf(layout, x_tensor, dy_tensor),
                                     kEps, Degenerate::kIeee);
  ExpectAllNear(s.mean, Entries(forward.mu));
  ExpectAllNear(s.var, Entries(forward.var));
  ExpectAllNear(s.inv_std, Entries(forward.inv_std));
  ExpectAllNear(
      Normalize(layout, x_tensor, s, Entries(gamma), Entries(beta)).values(),
      RowMajor(forward.y));
  ExpectAllNear(g.dbeta, Entries(backward.grad_beta));
  ExpectAllNear(g.dgamma, Entries(backward.grad_gamma));
  ExpectAllNear(
      Differentiate(layout, x_tensor, dy_tensor, s, g, Entries(gamma)).values(),
      RowMajor(backward.grad_x));
}

}  // namespace
}  // namespace batchnorm::kernel
