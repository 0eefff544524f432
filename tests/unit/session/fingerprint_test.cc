#include "server/session/fingerprint.h"

#include <gtest/gtest.h>

#include <vector>

#include "server/kernel/batch_norm.h"
#include "tests/unit/session/tensors.h"

namespace batchnorm::session {
namespace {

using enum kernel::Dtype;
using Vector = std::vector<double>;

std::string SumsOf(const Tensor& x, const std::vector<int>& axes) {
  const kernel::ChannelLayout layout(x.shape, axes);
  kernel::ForwardSums sums(layout.channels(), x.dtype);
  sums.Add(layout, 0, x.view());
  return sums.Serialize();
}

class InputDigestTest : public ::testing::Test {
 protected:
  static Digest Of(std::uint32_t rank, kernel::Dtype dtype, const Shape& shape,
                   const Vector& gamma, const std::string& sums) {
    return InputDigest(rank, dtype, shape, gamma, sums);
  }
  const Digest base_ = Of(0, kF32, {2, 3}, {1, 2, 3}, "sums");
};

TEST_F(InputDigestTest, EqualInputsHaveEqualDigests) {
  EXPECT_EQ(base_, Of(0, kF32, {2, 3}, {1, 2, 3}, "sums"));
}

TEST_F(InputDigestTest, EveryPartCounts) {
  EXPECT_NE(base_, Of(1, kF32, {2, 3}, {1, 2, 3}, "sums"));
  EXPECT_NE(base_, Of(0, kF64, {2, 3}, {1, 2, 3}, "sums"));
  EXPECT_NE(base_, Of(0, kF32, {3, 2}, {1, 2, 3}, "sums"));
  EXPECT_NE(base_, Of(0, kF32, {2, 3, 1}, {1, 2, 3}, "sums"));
  EXPECT_NE(base_, Of(0, kF32, {2, 3}, {1, 2, 3.0000000000000004}, "sums"));
  EXPECT_NE(base_, Of(0, kF32, {2, 3}, {1, 2, 3}, "sumz"));
}

TEST_F(InputDigestTest, AbsentGammaIsNotAGammaOfOnes) {
  EXPECT_NE(Of(0, kF32, {2, 1}, {}, "s"), Of(0, kF32, {2, 1}, {1}, "s"));
}

TEST_F(InputDigestTest, SignsOfZeroInGammaDiffer) {
  EXPECT_NE(Of(0, kF32, {2, 1}, {0.0}, "s"), Of(0, kF32, {2, 1}, {-0.0}, "s"));
}

TEST_F(InputDigestTest, OrderWithinAChannelIsNotSeenOtherValuesAre) {
  const Tensor x = F32({3, 1}, {1, 2, 3});
  EXPECT_EQ(SumsOf(x, {1}), SumsOf(F32({3, 1}, {3, 1, 2}), {1}));
  EXPECT_NE(SumsOf(x, {1}), SumsOf(F32({3, 1}, {1, 2, 3.0000002}), {1}));
  // The same sum, another sum of squares.
  EXPECT_NE(SumsOf(x, {1}), SumsOf(F32({3, 1}, {2, 2, 2}), {1}));
}

TEST(ParameterDigestTest, WeightAndBetaCountAndCumulativeIsNoNumber) {
  const Vector beta = {1, 2};
  EXPECT_EQ(ParameterDigest(0.1, beta), ParameterDigest(0.1, beta));
  EXPECT_NE(ParameterDigest(0.1, beta), ParameterDigest(0.2, beta));
  EXPECT_NE(ParameterDigest(0.0, beta), ParameterDigest(std::nullopt, beta));
  EXPECT_NE(ParameterDigest(0.1, beta), ParameterDigest(0.1, {}));
  EXPECT_NE(ParameterDigest(0.1, beta), ParameterDigest(0.1, Vector{2, 1}));
}

}  // namespace
}  // namespace batchnorm::session
