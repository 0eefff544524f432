// Whatever the number of ranks, the cut, the order of arrival, the dtype and
// the mode of each rank: a group's results are those of one caller who sends
// the whole batch, to the last bit.
#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "server/kernel/batch_norm.h"
#include "server/kernel/sum_limbs.h"
#include "tests/unit/sync/group_fixture.h"

namespace batchnorm::session {
namespace {

using kernel::Dtype;

// One batch, N x C x H, and how it is cut along N.
struct Case {
  Dtype dtype;
  std::int64_t channels;
  std::int64_t height;
  std::vector<std::int64_t> cut;  // samples of each rank; some are 0
  std::vector<double> x;
  std::vector<double> dy;
  std::optional<Tensor> gamma;
  std::optional<Tensor> beta;

  std::int64_t samples() const {
    return std::accumulate(cut.begin(), cut.end(), std::int64_t{0});
  }
  std::int64_t row() const { return channels * height; }
  std::uint32_t ranks() const { return static_cast<std::uint32_t>(cut.size()); }
  // The first sample of a rank.
  std::int64_t first(std::uint32_t rank) const {
    return std::accumulate(cut.begin(), cut.begin() + rank, std::int64_t{0});
  }

  Tensor Part(const std::vector<double>& values, std::int64_t first,
              std::int64_t samples) const {
    const std::vector<double> part(values.begin() + first * row(),
                                   values.begin() + (first + samples) * row());
    const Shape shape = {samples, channels, height};
    switch (dtype) {
      case Dtype::kF64:
        return F64(shape, part);
      case Dtype::kF32:
        return F32(shape, part);
      default:
        return BF16(shape, part);
    }
  }
  Tensor Shard(const std::vector<double>& values, std::uint32_t rank) const {
    return Part(values, first(rank), cut[rank]);
  }
  Tensor Whole(const std::vector<double>& values) const {
    return Part(values, 0, samples());
  }
};

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  Case Next(std::uint32_t most_ranks) {
    Case made;
    constexpr Dtype kDtypes[] = {Dtype::kF32, Dtype::kF64, Dtype::kBF16};
    made.dtype = kDtypes[Integer(0, 2)];
    made.channels = Integer(1, 9);
    made.height = Integer(1, 3);
    const auto ranks = Integer(2, most_ranks);
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      made.cut.push_back(Integer(0, 3) == 0 ? 0 : Integer(1, 6));
    }
    made.cut[0] += 2;  // so that no channel has a single value
    const auto size = static_cast<std::size_t>(made.samples() * made.row());
    made.x = Values(size, made.dtype);
    made.dy = Values(size, made.dtype);
    if (Integer(0, 1) == 1) made.gamma = PerChannel(made.channels);
    if (Integer(0, 1) == 1) made.beta = PerChannel(made.channels);
    return made;
  }

  std::vector<std::uint32_t> Order(std::uint32_t ranks) {
    std::vector<std::uint32_t> order(ranks);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random_);
    return order;
  }

  std::int64_t Integer(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
  }

 private:
  // Offsets and scales that make rounded sums differ.
  std::vector<double> Values(std::size_t size, Dtype dtype) {
    std::vector<double> values =
        Normals(size, static_cast<unsigned>(random_()),
                Integer(0, 1) == 0 ? 0.0 : 1000.0, Integer(0, 1) == 0 ? 1 : 30);
    if (dtype == Dtype::kBF16) {
      for (double& value : values) {
        value = std::nearbyint(value / 8) * 0.125;
      }
    }
    return values;
  }

  Tensor PerChannel(std::int64_t channels) {
    return F32({channels}, Normals(static_cast<std::size_t>(channels),
                                   static_cast<unsigned>(random_())));
  }

  std::mt19937 random_;
};

ForwardCall ForwardOf(const Case& batch, std::uint64_t step, Tensor x) {
  ForwardCall call = Train(step, std::move(x));
  call.gamma = batch.gamma;
  call.beta = batch.beta;
  return call;
}

// The same as a rank with kernels of its own would send it, by way of limbs.
SyncCall SumsOf(const Case& batch, std::uint64_t step, std::uint32_t rank) {
  const Tensor x = batch.Shard(batch.x, rank);
  const kernel::ChannelLayout layout(x.shape, {{1}});
  kernel::ForwardSums sums(batch.channels, x.dtype);
  sums.Add(layout, 0, x.view());
  SyncCall call;
  call.step = step;
  call.rank = rank;
  call.forward = kernel::ForwardSumsOfLimbs(
      batch.channels, batch.cut[rank] * batch.height,
      kernel::LimbsOfSum(sums).view(), kernel::LimbsOfSquares(sums).view());
  call.carried = CarriedDigest(rank, {}, {{sums.Serialize()}});
  return call;
}

SyncCall GradientSumsOf(const Case& batch, std::uint64_t step,
                        std::uint32_t rank) {
  const Tensor x = batch.Shard(batch.x, rank);
  const Tensor dy = batch.Shard(batch.dy, rank);
  const kernel::ChannelLayout layout(x.shape, {{1}});
  kernel::BackwardSums sums(batch.channels, x.dtype, dy.dtype);
  sums.Add(layout, 0, x.view(), dy.view());
  SyncCall call;
  call.step = step;
  call.rank = rank;
  call.backward = kernel::BackwardSumsOfLimbs(
      batch.channels, kernel::LimbsOfSumDy(sums).view(),
      kernel::LimbsOfSumDyX(sums).view());
  call.carried = CarriedDigest(rank, {}, {{sums.Serialize()}});
  return call;
}

std::string BytesOf(const std::string& whole, const Case& batch,
                    std::uint32_t rank) {
  const std::size_t row =
      static_cast<std::size_t>(batch.row()) * kernel::SizeOf(batch.dtype);
  return whole.substr(static_cast<std::size_t>(batch.first(rank)) * row,
                      static_cast<std::size_t>(batch.cut[rank]) * row);
}

void ExpectSameStatistics(const kernel::Statistics& of_group,
                          const kernel::Statistics& of_one) {
  EXPECT_EQ(of_group.count, of_one.count);
  EXPECT_EQ(of_group.mean, of_one.mean);
  EXPECT_EQ(of_group.mean_lo, of_one.mean_lo);
  EXPECT_EQ(of_group.var, of_one.var);
  EXPECT_EQ(of_group.inv_std, of_one.inv_std);
}

class GroupPropertyTest : public GroupTest,
                          public ::testing::WithParamInterface<unsigned> {
 protected:
  // A step of all ranks, in a random order, each as a tensor or as sums. Every
  // reply must be the part of what one caller gets.
  void ExpectForward(const Case& batch, std::uint64_t step,
                     const ForwardResult& whole) {
    std::vector<Reply<ForwardResult>> forwards(batch.ranks());
    std::vector<Reply<SyncResult>> syncs(batch.ranks());
    by_sums_.assign(batch.ranks(), false);
    std::uint32_t arrived = 0;
    for (const std::uint32_t rank : generator_.Order(batch.ranks())) {
      // gamma and beta of a rank with kernels of its own are its own business.
      by_sums_[rank] = generator_.Integer(0, 2) == 0;
      if (by_sums_[rank]) {
        syncs[rank] = Begin(*group_, SumsOf(batch, step, rank));
      } else {
        forwards[rank] = Begin(
            *group_,
            OfRank(rank, ForwardOf(batch, step, batch.Shard(batch.x, rank))));
      }
      const bool is_last = ++arrived == batch.ranks();
      for (const auto& reply : forwards) {
        EXPECT_EQ(reply && reply->has_value(), reply && is_last);
      }
    }
    for (std::uint32_t rank = 0; rank < batch.ranks(); ++rank) {
      if (by_sums_[rank]) {
        ASSERT_THAT(**syncs[rank], IsOk());
        ExpectSameStatistics((*syncs[rank])->value().batch->statistics,
                             *whole.statistics);
        continue;
      }
      ASSERT_THAT(**forwards[rank], IsOk());
      const ForwardResult& part = (*forwards[rank])->value();
      EXPECT_EQ(part.step, step);
      EXPECT_FALSE(part.replayed);
      EXPECT_EQ(part.y, BytesOf(whole.y, batch, rank));
      ExpectSameStatistics(*part.statistics, *whole.statistics);
    }
  }

  void ExpectBackward(const Case& batch, std::uint64_t step,
                      const BackwardResult& whole) {
    std::vector<Reply<BackwardResult>> backwards(batch.ranks());
    std::vector<Reply<SyncResult>> syncs(batch.ranks());
    for (const std::uint32_t rank : generator_.Order(batch.ranks())) {
      if (by_sums_[rank]) {
        syncs[rank] = Begin(*group_, GradientSumsOf(batch, step, rank));
      } else {
        backwards[rank] = Begin(
            *group_, OfRank(rank, Gradient(step, batch.Shard(batch.dy, rank))));
      }
    }
    for (std::uint32_t rank = 0; rank < batch.ranks(); ++rank) {
      if (by_sums_[rank]) {
        ASSERT_THAT(**syncs[rank], IsOk());
        const kernel::Gradients& part = *(*syncs[rank])->value().gradients;
        EXPECT_EQ(part.dgamma, whole.dgamma);
        EXPECT_EQ(part.dbeta, whole.dbeta);
        continue;
      }
      ASSERT_THAT(**backwards[rank], IsOk());
      const BackwardResult& part = (*backwards[rank])->value();
      EXPECT_EQ(part.dx, BytesOf(whole.dx, batch, rank));
      EXPECT_EQ(part.dgamma, whole.dgamma);
      EXPECT_EQ(part.dbeta, whole.dbeta);
    }
  }

  Generator generator_{GetParam()};
  Registry registry_{Options()};
  std::shared_ptr<Session> group_;
  std::vector<bool> by_sums_;
};

TEST_P(GroupPropertyTest, AGroupGetsTheBitsOfOneCaller) {
  Case batch = generator_.Next(7);
  SessionConfig config = GroupConfig(batch.channels, batch.ranks());
  config.gradient_reduction = GradientReduction::kSum;
  group_ = Make(registry_, "group", config);
  const auto one = Make(registry_, "one", Config(batch.channels));
  for (std::uint64_t step = 1; step <= 3; ++step) {
    const auto whole =
        Forward(*one, ForwardOf(batch, step, batch.Whole(batch.x)));
    ASSERT_THAT(whole, IsOk());
    ExpectForward(batch, step, *whole);
    const auto gradient = Backward(*one, Gradient(step, batch.Whole(batch.dy)));
    ASSERT_THAT(gradient, IsOk());
    ExpectBackward(batch, step, *gradient);
    // Another batch, cut alike.
    std::rotate(batch.x.begin(), batch.x.begin() + 1, batch.x.end());
    std::swap(batch.x, batch.dy);
  }
  const Snapshot of_group = group_->GetSnapshot(true);
  const Snapshot of_one = one->GetSnapshot(true);
  EXPECT_EQ(of_group.last_step, 3u);
  EXPECT_EQ(of_group.running->mean, of_one.running->mean);
  EXPECT_EQ(of_group.running->var, of_one.running->var);
  EXPECT_EQ(of_group.running->batch_count, of_one.running->batch_count);
}

INSTANTIATE_TEST_SUITE_P(Seeds, GroupPropertyTest, ::testing::Range(0u, 200u));

}  // namespace
}  // namespace batchnorm::session
