#include "tests/benchmarks/onednn_layer.h"

#include <algorithm>
#include <cstring>

#include "tests/benchmarks/pairing.h"

// libgomp's, which libdnnl uses; only GCC finds omp.h.
extern "C" {
void omp_set_num_threads(int threads);
int omp_pause_resource_all(int kind);
}

namespace batchnorm::benchmark {
namespace {

using dnnl::memory;
using dnnl::normalization_flags;
using dnnl::prop_kind;

const auto kFlags =
    normalization_flags::use_scale | normalization_flags::use_shift;
constexpr auto kF32Eps = static_cast<float>(kEps);

std::int64_t SizeOf(const memory::desc& data) {
  return static_cast<std::int64_t>(data.get_size());
}

}  // namespace

OneDnnLayer::Tensor::Tensor(const Buffer& shared, const Problem& problem,
                            std::int64_t bytes)
    : shared_(shared) {
  if (bytes == problem.shape.f32_bytes()) return;
  own_.emplace(bytes);
  std::memcpy(own_->As<float>(), shared.As<float>(),
              static_cast<std::size_t>(std::min(bytes, shared.bytes())));
}

float* OneDnnLayer::Tensor::data() const {
  return (own_ ? *own_ : shared_).As<float>();
}

OneDnnLayer::OneDnnLayer(const Contest& contest, const memory::desc& data)
    : threads_(contest.threads()),
      beta_(contest.parameters.beta),
      gamma_(contest.parameters.gamma),
      mean_(gamma_.size()),
      var_(gamma_.size()),
      dgamma_(gamma_.size()),
      dbeta_(gamma_.size()),
      engine_(dnnl::engine::kind::cpu, 0),
      stream_(engine_) {
  omp_set_num_threads(threads_);
  const Forward::primitive_desc forward(
      Forward::desc(prop_kind::forward_training, data, kF32Eps, kFlags),
      engine_);
  const memory::desc chosen = forward.src_desc();
  const Buffers& buffers = contest.buffers;
  for (const Buffer* buffer : {&buffers.f32.x, &buffers.out, &buffers.f32.dy}) {
    tensors_.emplace_back(*buffer, contest.problem, SizeOf(chosen));
  }
  forward_ = Forward(forward);
  forward_arguments_ = {{DNNL_ARG_SRC, Bound(chosen, tensors_[0])},
                        {DNNL_ARG_DST, Bound(chosen, tensors_[1])},
                        {DNNL_ARG_SCALE, Bound(gamma_)},
                        {DNNL_ARG_SHIFT, Bound(beta_)},
                        {DNNL_ARG_MEAN, Bound(mean_)},
                        {DNNL_ARG_VARIANCE, Bound(var_)}};
  timed_ = Timed([this] { Run(forward_, forward_arguments_); });
  if (!contest.is_forward()) MakeBackward(forward);
}

void OneDnnLayer::MakeBackward(const Forward::primitive_desc& forward) {
  const memory::desc data = forward.src_desc();
  const Backward::primitive_desc backward(
      Backward::desc(prop_kind::backward, data, data, kF32Eps, kFlags), engine_,
      forward);
  backward_ = Backward(backward);
  backward_arguments_ = {{DNNL_ARG_SRC, Bound(data, tensors_[0])},
                         {DNNL_ARG_DIFF_SRC, Bound(data, tensors_[1])},
                         {DNNL_ARG_DIFF_DST, Bound(data, tensors_[2])},
                         {DNNL_ARG_SCALE, Bound(gamma_)},
                         {DNNL_ARG_SHIFT, Bound(beta_)},
                         {DNNL_ARG_MEAN, Bound(mean_)},
                         {DNNL_ARG_VARIANCE, Bound(var_)},
                         {DNNL_ARG_DIFF_SCALE, Bound(dgamma_)},
                         {DNNL_ARG_DIFF_SHIFT, Bound(dbeta_)}};
  Run(forward_, forward_arguments_);  // for the statistics
  timed_ = Timed([this] { Run(backward_, backward_arguments_); });
}

double OneDnnLayer::Sample(int calls) {
  constexpr int kHardPause = 2;
  omp_set_num_threads(threads_);
  const double seconds = timed_(calls);
  if (threads_ > 1) omp_pause_resource_all(kHardPause);
  return seconds;
}

memory OneDnnLayer::Bound(const memory::desc& data, const Tensor& tensor) {
  return {data, engine_, tensor.data()};
}

memory OneDnnLayer::Bound(std::vector<float>& channels) {
  const memory::desc data({static_cast<memory::dim>(channels.size())},
                          memory::data_type::f32, memory::format_tag::a);
  return {data, engine_, channels.data()};
}

void OneDnnLayer::Run(const dnnl::primitive& primitive,
                      const Arguments& arguments) {
  primitive.execute(stream_, arguments);
  stream_.wait();
}

}  // namespace batchnorm::benchmark
