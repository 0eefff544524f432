#include "tests/benchmarks/sync/sync_contest.h"

#include <fmt/format.h>

#include <random>
#include <stdexcept>

#include "batchnorm/v1/batch_norm_service.pb.h"
#include "server/kernel/channel_layout.h"
#include "server/kernel/sum_limbs.h"

namespace batchnorm::benchmark {
namespace {

constexpr char kSync[] = "/batchnorm.v1.BatchNormService/Sync";
constexpr char kCreate[] = "/batchnorm.v1.BatchNormService/CreateSession";
constexpr std::int64_t kRows = 32;  // of each rank's shard

std::vector<float> Normals(std::int64_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.5F, 2);
  std::vector<float> values(static_cast<std::size_t>(size));
  for (float& value : values) value = normal(random);
  return values;
}

kernel::TensorView ViewOf(const std::vector<float>& values) {
  return {kernel::Dtype::kF32, std::as_bytes(std::span(values))};
}

v1::Expansion ExpansionOf(const kernel::SumLimbs& limbs) {
  v1::Expansion expansion;
  v1::Tensor& tensor = *expansion.mutable_limbs();
  const auto rows = static_cast<std::int64_t>(limbs.scales.size());
  tensor.set_dtype(v1::DTYPE_F64);
  tensor.add_shape(rows);
  tensor.add_shape(static_cast<std::int64_t>(limbs.limbs.size()) / rows);
  tensor.set_data(limbs.limbs.data(), limbs.limbs.size() * sizeof(double));
  return expansion;
}

std::size_t DoublesIn(const v1::ForwardSums& sums) {
  return (sums.sum().limbs().data().size() +
          sums.sum_of_squares().limbs().data().size()) /
         sizeof(double);
}

}  // namespace

GroupMessages::GroupMessages(std::string session, GroupSize size)
    : session_(std::move(session)) {
  const kernel::ChannelLayout layout(
      std::vector<std::int64_t>{kRows, size.channels}, std::vector{1});
  for (unsigned rank = 0; rank < size.ranks; ++rank) {
    const auto x = Normals(kRows * size.channels, 2 * rank);
    const auto dy = Normals(kRows * size.channels, 2 * rank + 1);
    kernel::ForwardSums forward(size.channels, kernel::Dtype::kF32);
    forward.Add(layout, 0, ViewOf(x));
    kernel::BackwardSums backward(size.channels, kernel::Dtype::kF32,
                                  kernel::Dtype::kF32);
    backward.Add(layout, 0, ViewOf(x), ViewOf(dy));
    v1::SyncRequest request;
    request.set_rank(rank);
    request.mutable_forward()->set_count(kRows);
    *request.mutable_forward()->mutable_sum() =
        ExpansionOf(LimbsOfSum(forward));
    *request.mutable_forward()->mutable_sum_of_squares() =
        ExpansionOf(LimbsOfSquares(forward));
    doubles_ = DoublesIn(request.forward());
    forward_.push_back(request.SerializeAsString());
    *request.mutable_backward()->mutable_sum_dy() =
        ExpansionOf(LimbsOfSumDy(backward));
    *request.mutable_backward()->mutable_sum_dy_x() =
        ExpansionOf(LimbsOfSumDyX(backward));
    backward_.push_back(request.SerializeAsString());
  }
}

std::vector<Shot> GroupMessages::Shots(const std::string& session,
                                       std::uint64_t step,
                                       const std::vector<std::string>& sums,
                                       std::size_t offset) const {
  v1::SyncRequest header;  // fields of two messages in a row are one message
  header.set_session(session);
  header.set_step(step);
  header.set_acknowledged_step(step - 1);
  const std::string prefix = header.SerializeAsString();
  std::vector<Shot> shots;
  shots.reserve(sums.size());
  for (std::size_t rank = 0; rank < sums.size(); ++rank) {
    shots.push_back({offset + rank, kSync, BytesOf(prefix + sums[rank])});
  }
  return shots;
}

std::vector<Shot> GroupMessages::Forwards(std::uint64_t step) const {
  return Shots(session_, step, forward_, 0);
}
std::vector<Shot> GroupMessages::Backwards(std::uint64_t step) const {
  return Shots(session_, step, backward_, 0);
}
std::vector<Shot> GroupMessages::Forwards(std::uint64_t step,
                                          const std::string& session,
                                          std::size_t offset) const {
  return Shots(session, step, forward_, offset);
}
std::vector<Shot> GroupMessages::Backwards(std::uint64_t step,
                                           const std::string& session,
                                           std::size_t offset) const {
  return Shots(session, step, backward_, offset);
}

void CreateGroup(Volley& volley, const std::string& session, GroupSize size) {
  v1::CreateSessionRequest request;
  request.set_name(session);
  request.mutable_config()->set_channels(size.channels);
  request.mutable_config()->set_world_size(
      static_cast<std::uint32_t>(size.ranks));
  request.mutable_config()->set_gradient_reduction(v1::GRADIENT_REDUCTION_SUM);
  volley.Fire({{0, kCreate, BytesOf(request.SerializeAsString())}});
}

std::vector<Shot> Echoes(const std::vector<Shot>& shots, std::size_t reply) {
  std::vector<Shot> echoes = shots;
  for (Shot& shot : echoes) shot.method = fmt::format("/echo/{}", reply);
  return echoes;
}

GroupSteps::GroupSteps(const std::string& address, GroupSize size)
    : messages_(fmt::format("sync/{}x{}", size.ranks, size.channels), size),
      volley_(address, size.ranks) {
  CreateGroup(volley_, fmt::format("sync/{}x{}", size.ranks, size.channels),
              size);
  std::vector<grpc::ByteBuffer> replies;
  volley_.Fire(messages_.Forwards(++step_), &replies);
  forward_reply_ = replies[0].Length();
  replies.clear();
  volley_.Fire(messages_.Backwards(step_), &replies);
  backward_reply_ = replies[0].Length();
}

double GroupSteps::Step() {
  const std::vector<Shot> forwards = messages_.Forwards(++step_);
  const std::vector<Shot> backwards = messages_.Backwards(step_);
  return volley_.Fire(forwards) + volley_.Fire(backwards);
}

double GroupSteps::Echo(Volley& echo) const {
  const auto forwards = Echoes(messages_.Forwards(1), forward_reply_);
  const auto backwards = Echoes(messages_.Backwards(1), backward_reply_);
  return echo.Fire(forwards) + echo.Fire(backwards);
}

}  // namespace batchnorm::benchmark
