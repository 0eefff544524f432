// What surrounds the batch-norm layers of `bn demo`: dense layers, ReLU, the
// loss and the optimizer, all on this machine. Plain loops in f32, so that two
// runs give the same bits. Thread-compatible.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_NETWORK_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_NETWORK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/cli/demo_random.h"

namespace batchnorm::cli {

// Row-major; in a batch each row is one sample.
struct Matrix {
  Matrix() = default;
  Matrix(std::size_t row_count, std::size_t column_count)
      : rows(row_count),
        columns(column_count),
        values(row_count * column_count) {}

  float* row(std::size_t i) { return &values[i * columns]; }
  const float* row(std::size_t i) const { return &values[i * columns]; }

  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<float> values;
};

// A trained vector with its latest gradient and Adam's two moments of it.
struct Parameter {
  explicit Parameter(std::size_t size, float initial = 0)
      : value(size, initial),
        gradient(size),
        first_moment(size),
        second_moment(size) {}

  std::vector<float> value;
  std::vector<float> gradient;
  std::vector<float> first_moment;
  std::vector<float> second_moment;
};

// y = x * weight + bias. Batch norm takes any bias away again, so a layer
// before it has none.
enum class Bias : std::uint8_t { kNone, kTrained };

class Dense {
 public:
  // Weights uniform within sqrt(6 / inputs), which keeps variance under ReLU.
  Dense(std::size_t inputs, std::size_t outputs, Bias bias, DemoRandom& random);

  Matrix Forward(const Matrix& x) const;
  // Sets the gradients of weight and bias; returns dx.
  Matrix Backward(const Matrix& x, const Matrix& dy);

  std::vector<Parameter*> parameters() { return {&weight_, &bias_}; }

 private:
  std::size_t inputs_;
  std::size_t outputs_;
  Parameter weight_;  // inputs x outputs, row-major
  Parameter bias_;    // of size outputs or 0
};

// max(x, 0).
Matrix Relu(Matrix x);
// dy where x > 0, else 0.
Matrix ReluBackward(const Matrix& x, Matrix dy);

struct Loss {
  double mean = 0;  // cross entropy a sample, in nats
  Matrix gradient;  // of `mean` by the logits
};

// Softmax cross entropy of `logits` against one label a row.
Loss SoftmaxCrossEntropy(const Matrix& logits,
                         const std::vector<std::int32_t>& labels);

// How many rows have their largest logit at the label.
std::size_t CountCorrect(const Matrix& logits,
                         const std::vector<std::int32_t>& labels);

// Adam (Kingma and Ba, 2015) with the usual decays 0.9 and 0.999.
class Adam {
 public:
  // Moves every parameter against its gradient.
  void Step(double learning_rate, const std::vector<Parameter*>& parameters);

 private:
  int steps_ = 0;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_NETWORK_H_
