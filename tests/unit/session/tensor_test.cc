#include "server/session/tensor.h"

#include "tests/matchers.h"
#include "tests/unit/session/tensors.h"

namespace batchnorm::session {
namespace {

using namespace ::batchnorm::testing;

constexpr std::int64_t kMaxBytes = 1 << 16;
constexpr std::int64_t kTwo60 = std::int64_t{1} << 60;

Tensor OfBytes(Shape shape, std::size_t bytes,
               kernel::Dtype dtype = kernel::Dtype::kF32) {
  return FromBytes(dtype, std::move(shape), std::string(bytes, '\0'));
}

TEST(TensorTest, TheBytesOfEachDtypeAreTheProductTimesItsSize) {
  using enum kernel::Dtype;
  EXPECT_THAT(CheckTensor(OfBytes({2, 3}, 12, kF16), "x", kMaxBytes), IsOk());
  EXPECT_THAT(CheckTensor(OfBytes({2, 3}, 12, kBF16), "x", kMaxBytes), IsOk());
  EXPECT_THAT(CheckTensor(OfBytes({2, 3}, 24, kF32), "x", kMaxBytes), IsOk());
  EXPECT_THAT(CheckTensor(OfBytes({2, 3}, 48, kF64), "x", kMaxBytes), IsOk());
}

TEST(TensorTest, OneToEightDimensionsAndSizesOfZeroAreLegal) {
  EXPECT_THAT(CheckTensor(OfBytes({5}, 20), "x", kMaxBytes), IsOk());
  EXPECT_THAT(CheckTensor(OfBytes({1, 1, 1, 1, 1, 1, 1, 2}, 8), "x", kMaxBytes),
              IsOk());
  EXPECT_THAT(CheckTensor(OfBytes({0, 7}, 0), "x", kMaxBytes), IsOk());
  EXPECT_THAT(
      CheckTensor(Tensor{.shape = {3, 0}, .data = nullptr}, "x", kMaxBytes),
      IsOk());
}

struct BadTensor {
  Tensor tensor;
  std::string field;
  std::string text;
};

TEST(TensorTest, EveryBadFormIsRefusedWithWhatWasExpectedAndWhatCame) {
  const BadTensor cases[] = {
      {OfBytes({}, 4), "x.shape", "expected 1 to 8 dimensions, got 0"},
      {OfBytes({1, 1, 1, 1, 1, 1, 1, 1, 1}, 4), "x.shape",
       "expected 1 to 8 dimensions, got 9"},
      {OfBytes({2, -5}, 40), "x.shape",
       "expected sizes of at least 0, got -5 in dimension 1"},
      {OfBytes({0, -1}, 0), "x.shape", "got -1 in dimension 1"},
      {OfBytes({16, kTwo60 + 2}, 32), "x.shape", "element count overflow"},
      {OfBytes({0, kTwo60, 16}, 0), "x.shape", "element count overflow"},
      {OfBytes({4, kTwo60 + 2}, 32), "x.shape", "byte size overflow"},
      {OfBytes({2, 512}, 4095), "x.data",
       "x.data: expected 4096 bytes for f32 [2,512], got 4095"},
      {OfBytes({2, 512}, 4097), "x.data",
       "x.data: expected 4096 bytes for f32 [2,512], got 4097"},
      {OfBytes({2, 512}, 0), "x.data", "expected 4096 bytes"},
      {OfBytes({0, 512}, 1), "x.data", "expected 0 bytes for f32 [0,512]"},
      {Tensor{.shape = {1}, .data = nullptr}, "x.data",
       "expected 4 bytes for f32 [1], got 0"},
  };
  for (const BadTensor& bad : cases) {
    const absl::Status status = CheckTensor(bad.tensor, "x", kMaxBytes);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(status, HasReason("BAD_TENSOR"));
    EXPECT_THAT(status, HasField(bad.field));
    EXPECT_THAT(status, HasText(bad.text));
  }
}

TEST(TensorTest, MoreThanTheLimitIsResourceExhausted) {
  EXPECT_THAT(CheckTensor(OfBytes({1 << 14}, 1 << 16), "dy", kMaxBytes),
              IsOk());
  const absl::Status status =
      CheckTensor(OfBytes({(1 << 14) + 1}, (1 << 16) + 4), "dy", kMaxBytes);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(status, HasReason("TENSOR_TOO_LARGE"));
  EXPECT_THAT(status, HasField("dy.data"));
  EXPECT_THAT(status, HasText("expected at most 65536 bytes, got 65540"));
}

TEST(TensorTest, NegativeAxesCountFromTheEnd) {
  const Tensor x = OfBytes({2, 3, 5}, 120);
  const auto last = MakeLayout(x, {-1});
  ASSERT_THAT(last, IsOk());
  EXPECT_EQ(last->channels(), 5);
  EXPECT_EQ(last->count(), 6);
  const auto first_two = MakeLayout(x, {-2, 0});
  ASSERT_THAT(first_two, IsOk());
  EXPECT_EQ(first_two->channels(), 6);
  EXPECT_EQ(first_two->ChannelOf(5), 1);  // [0,1,0]
}

TEST(TensorTest, AxesThatTheShapeLacksOrNamesTwiceAreRefused) {
  const Tensor x = OfBytes({2, 3}, 24);
  for (const std::vector<std::int32_t>& axes :
       {std::vector<std::int32_t>{2}, {-3}, {1, -1}, {0, 1, 2}}) {
    const absl::Status status = MakeLayout(x, axes).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(status, HasReason("BAD_CHANNEL_AXES"));
    EXPECT_THAT(status, HasField("x.shape"));
    EXPECT_THAT(status, HasText("got [2,3]"));
  }
}

TEST(TensorTest, ParametersOfAnyDtypeAndShapeBecomeDoubles) {
  const Tensor f32 = F32({2, 1}, {0.5, -3});
  const Tensor bf16 = BF16({2}, {0.5, -3});
  const Tensor f64 = F64({1, 2}, {0.1, 1e300});
  EXPECT_THAT(*ChannelVector(&f32, 2, "gamma"),
              ::testing::ElementsAre(0.5, -3));
  EXPECT_THAT(*ChannelVector(&bf16, 2, "gamma"),
              ::testing::ElementsAre(0.5, -3));
  EXPECT_THAT(*ChannelVector(&f64, 2, "gamma"),
              ::testing::ElementsAre(0.1, 1e300));
}

TEST(TensorTest, AnAbsentParameterIsEmpty) {
  EXPECT_THAT(*ChannelVector(nullptr, 2, "gamma"), ::testing::IsEmpty());
}

TEST(TensorTest, AParameterOfOtherLengthIsRefused) {
  const Tensor nine = OfBytes({9}, 36);
  const absl::Status status = ChannelVector(&nine, 10, "beta").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(status, HasReason("WRONG_CHANNELS"));
  EXPECT_THAT(status, HasField("beta.shape"));
  EXPECT_THAT(status, HasText("expected 10 values, one a channel, got 9"));
}

}  // namespace
}  // namespace batchnorm::session
