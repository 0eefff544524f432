// One batch norm of oneDNN's: its primitives and their memory, for one layout
// and one number of threads.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_ONEDNN_LAYER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_ONEDNN_LAYER_H_

#include <cstdint>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tests/benchmarks/contest.h"

namespace batchnorm::benchmark {

// Training forward with scale, shift and statistics, or full backward, f32.
class OneDnnLayer {
 public:
  // Throws dnnl::error if oneDNN cannot do that layout.
  OneDnnLayer(const Contest& contest, const dnnl::memory::desc& data);

  OneDnnLayer(const OneDnnLayer&) = delete;
  OneDnnLayer& operator=(const OneDnnLayer&) = delete;

  // As Peer::sample. Ends OpenMP's threads: idle ones spin for a while, on the
  // core that the next peer needs.
  double Sample(int calls);

 private:
  using Forward = dnnl::batch_normalization_forward;
  using Backward = dnnl::batch_normalization_backward;
  using Arguments = std::unordered_map<int, dnnl::memory>;

  // A tensor in memory of the contest's or, if the layout pads it (which
  // oneDNN overwrites), in a copy.
  class Tensor {
   public:
    Tensor(const Buffer& shared, const Problem& problem, std::int64_t bytes);
    float* data() const;

   private:
    const Buffer& shared_;
    std::optional<Buffer> own_;
  };

  void MakeBackward(const Forward::primitive_desc& forward);
  dnnl::memory Bound(const dnnl::memory::desc& data, const Tensor& tensor);
  dnnl::memory Bound(std::vector<float>& channels);
  void Run(const dnnl::primitive& primitive, const Arguments& arguments);

  int threads_;
  std::vector<float> beta_;
  std::vector<float> gamma_;
  std::vector<float> mean_;
  std::vector<float> var_;
  std::vector<float> dgamma_;
  std::vector<float> dbeta_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<Tensor> tensors_;  // keeps their memory
  Forward forward_;
  Backward backward_;
  Arguments forward_arguments_;
  Arguments backward_arguments_;
  std::function<double(int)> timed_;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_ONEDNN_LAYER_H_
