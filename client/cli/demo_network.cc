#include "client/cli/demo_network.h"

#include <algorithm>
#include <cmath>

namespace batchnorm::cli {
namespace {

constexpr double kFirstDecay = 0.9;
constexpr double kSecondDecay = 0.999;
constexpr float kAdamFloor = 1e-8F;

// y += a * x
void AddScaled(float a, const float* x, std::size_t size, float* y) {
  for (std::size_t i = 0; i < size; ++i) y[i] += a * x[i];
}

float Dot(const float* a, const float* b, std::size_t size) {
  float sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

// softmax(logits) - onehot(label), and minus the logarithm of the label's
// probability. The largest logit is taken off first: exp cannot overflow.
double RowLoss(const float* logits, std::size_t size, std::size_t label,
               float* gradient) {
  const double largest = *std::max_element(logits, logits + size);
  double sum = 0;
  for (std::size_t i = 0; i < size; ++i) sum += std::exp(logits[i] - largest);
  for (std::size_t i = 0; i < size; ++i) {
    const double p = std::exp(logits[i] - largest) / sum;
    gradient[i] = static_cast<float>(i == label ? p - 1 : p);
  }
  return std::log(sum) - (logits[label] - largest);
}

void AdamStep(float rate, Parameter& p) {
  constexpr auto kFirst = static_cast<float>(kFirstDecay);
  constexpr auto kFirstRest = static_cast<float>(1 - kFirstDecay);
  constexpr auto kSecond = static_cast<float>(kSecondDecay);
  constexpr auto kSecondRest = static_cast<float>(1 - kSecondDecay);
  for (std::size_t i = 0; i < p.value.size(); ++i) {
    const float g = p.gradient[i];
    float& m = p.first_moment[i];
    float& v = p.second_moment[i];
    m = kFirst * m + kFirstRest * g;
    v = kSecond * v + kSecondRest * g * g;
    p.value[i] -= rate * m / (std::sqrt(v) + kAdamFloor);
  }
}

}  // namespace

Dense::Dense(std::size_t inputs, std::size_t outputs, Bias bias,
             DemoRandom& random)
    : inputs_(inputs),
      outputs_(outputs),
      weight_(inputs * outputs),
      bias_(bias == Bias::kTrained ? outputs : 0) {
  const double bound = std::sqrt(6.0 / static_cast<double>(inputs));
  for (float& w : weight_.value) {
    w = static_cast<float>(bound * random.Symmetric());
  }
}

Matrix Dense::Forward(const Matrix& x) const {
  Matrix y(x.rows, outputs_);
  for (std::size_t n = 0; n < x.rows; ++n) {
    std::copy(bias_.value.begin(), bias_.value.end(), y.row(n));
    for (std::size_t i = 0; i < inputs_; ++i) {
      AddScaled(x.row(n)[i], &weight_.value[i * outputs_], outputs_, y.row(n));
    }
  }
  return y;
}

Matrix Dense::Backward(const Matrix& x, const Matrix& dy) {
  std::fill(weight_.gradient.begin(), weight_.gradient.end(), 0.0F);
  std::fill(bias_.gradient.begin(), bias_.gradient.end(), 0.0F);
  Matrix dx(x.rows, inputs_);
  for (std::size_t n = 0; n < x.rows; ++n) {
    AddScaled(1, dy.row(n), bias_.gradient.size(), bias_.gradient.data());
    for (std::size_t i = 0; i < inputs_; ++i) {
      const std::size_t w = i * outputs_;
      AddScaled(x.row(n)[i], dy.row(n), outputs_, &weight_.gradient[w]);
      dx.row(n)[i] = Dot(dy.row(n), &weight_.value[w], outputs_);
    }
  }
  return dx;
}

Matrix Relu(Matrix x) {
  for (float& value : x.values) value = std::max(value, 0.0F);
  return x;
}

Matrix ReluBackward(const Matrix& x, Matrix dy) {
  for (std::size_t i = 0; i < dy.values.size(); ++i) {
    if (!(x.values[i] > 0)) dy.values[i] = 0;
  }
  return dy;
}

Loss SoftmaxCrossEntropy(const Matrix& logits,
                         const std::vector<std::int32_t>& labels) {
  Loss loss{.mean = 0, .gradient = Matrix(logits.rows, logits.columns)};
  for (std::size_t n = 0; n < logits.rows; ++n) {
    loss.mean +=
        RowLoss(logits.row(n), logits.columns,
                static_cast<std::size_t>(labels[n]), loss.gradient.row(n));
  }
  const auto rows = static_cast<double>(logits.rows);
  loss.mean /= rows;
  for (float& g : loss.gradient.values) g /= static_cast<float>(rows);
  return loss;
}

std::size_t CountCorrect(const Matrix& logits,
                         const std::vector<std::int32_t>& labels) {
  std::size_t correct = 0;
  for (std::size_t n = 0; n < logits.rows; ++n) {
    const float* row = logits.row(n);
    const float* best = std::max_element(row, row + logits.columns);
    if (best - row == labels[n]) ++correct;
  }
  return correct;
}

void Adam::Step(double learning_rate,
                const std::vector<Parameter*>& parameters) {
  ++steps_;
  // Both moments start at 0; this undoes that (their section 3).
  const double rate = learning_rate *
                      std::sqrt(1 - std::pow(kSecondDecay, steps_)) /
                      (1 - std::pow(kFirstDecay, steps_));
  for (Parameter* p : parameters) AdamStep(static_cast<float>(rate), *p);
}

}  // namespace batchnorm::cli
