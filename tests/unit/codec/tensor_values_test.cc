#include "proto/wire/tensor_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace batchnorm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Shape = std::vector<std::int64_t>;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST(TensorValues, FloatsAreTheirLittleEndianBytes) {
  const Tensor tensor = MakeTensor(std::vector<float>{1, -2}, {2});
  EXPECT_EQ(tensor.dtype, Dtype::kF32);
  EXPECT_EQ(tensor.shape, Shape{2});
  EXPECT_EQ(tensor.data, std::string("\0\0\x80\x3f\0\0\0\xc0", 8));
}

TEST(TensorValues, DoublesAreTheirLittleEndianBytes) {
  const Tensor tensor = MakeTensor(std::vector<double>{1}, {1, 1});
  EXPECT_EQ(tensor.dtype, Dtype::kF64);
  EXPECT_EQ(tensor.data, std::string("\0\0\0\0\0\0\xf0\x3f", 8));
}

TEST(TensorValues, NarrowFormatsAreTheirLittleEndianBytes) {
  const std::vector<double> values = {1, -2};
  EXPECT_EQ(MakeTensor(Dtype::kF16, values, {2}).data,
            std::string("\x00\x3c\x00\xc0", 4));
  EXPECT_EQ(MakeTensor(Dtype::kBF16, values, {2}).data,
            std::string("\x80\x3f\x00\xc0", 4));
}

TEST(TensorValues, ValuesThatEveryDtypeHasComeBackExactly) {
  const std::vector<double> values = {0, 1, -1.5, 0.25, 96, -HUGE_VAL};
  for (const Dtype dtype :
       {Dtype::kF16, Dtype::kBF16, Dtype::kF32, Dtype::kF64}) {
    const Tensor tensor = MakeTensor(dtype, values, {6});
    EXPECT_EQ(tensor.dtype, dtype);
    EXPECT_TRUE(IsComplete(tensor));
    EXPECT_EQ(ToDoubles(tensor), values) << NameOf(dtype);
  }
}

TEST(TensorValues, SignedZeroSurvives) {
  const std::vector<double> zero = {-0.0};
  for (const Dtype dtype :
       {Dtype::kF16, Dtype::kBF16, Dtype::kF32, Dtype::kF64}) {
    EXPECT_TRUE(std::signbit(ToDoubles(MakeTensor(dtype, zero, {1}))[0]));
  }
}

TEST(TensorValues, ElementsAreReadInPlace) {
  const Tensor floats = MakeTensor(std::vector<float>{3, 4, 5}, {3});
  EXPECT_THAT(FloatsOf(floats), ElementsAre(3, 4, 5));
  EXPECT_EQ(static_cast<const void*>(FloatsOf(floats).data()),
            floats.data.data());
  const Tensor doubles = MakeTensor(std::vector<double>{6}, {1});
  EXPECT_THAT(DoublesOf(doubles), ElementsAre(6));
}

TEST(TensorValues, AnotherDtypeHasNothingInPlace) {
  const Tensor floats = MakeTensor(std::vector<float>{3, 4}, {2});
  EXPECT_THAT(DoublesOf(floats), IsEmpty());
  EXPECT_THAT(FloatsOf(MakeTensor(std::vector<double>{6}, {1})), IsEmpty());
}

TEST(TensorValues, ABrokenElementAtTheEndIsLeftOut) {
  Tensor tensor = MakeTensor(std::vector<float>{3, 4}, {2});
  tensor.data.resize(7);
  EXPECT_FALSE(IsComplete(tensor));
  EXPECT_THAT(ToDoubles(tensor), ElementsAre(3));
  EXPECT_THAT(FloatsOf(tensor), ElementsAre(3));
}

TEST(TensorValues, CountsElements) {
  EXPECT_EQ(ElementCount(Shape{}), 1);
  EXPECT_EQ(ElementCount(Shape{2, 3, 4}), 24);
  EXPECT_EQ(ElementCount(Shape{5, 0}), 0);
  EXPECT_EQ(ElementCount(Shape{kMost}), kMost);
}

TEST(TensorValues, CountsThatLeave63BitsAreEmpty) {
  EXPECT_EQ(ElementCount(Shape{16, (std::int64_t{1} << 60) + 2}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{kMost, 2}), std::nullopt);
  EXPECT_EQ(ElementCount(Shape{-1}), std::nullopt);
  EXPECT_EQ(ByteCount(Dtype::kF32, Shape{4, (std::int64_t{1} << 60) + 2}),
            std::nullopt);
  EXPECT_EQ(ByteCount(Dtype::kF64, Shape{3, 2}), 48);
}

TEST(TensorValues, AByteTooFewOrTooManyIsNotComplete) {
  Tensor tensor = MakeTensor(std::vector<double>{1, 2, 3, 4}, {2, 2});
  EXPECT_TRUE(IsComplete(tensor));
  tensor.data.pop_back();
  EXPECT_FALSE(IsComplete(tensor));
  tensor.data.append(2, 'x');
  EXPECT_FALSE(IsComplete(tensor));
  tensor.shape = {-4};
  EXPECT_FALSE(IsComplete(tensor));
}

TEST(TensorValues, DtypesHaveNames) {
  for (const char* name : {"f16", "bf16", "f32", "f64"}) {
    const auto dtype = DtypeOfName(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(NameOf(*dtype), name);
  }
  EXPECT_EQ(DtypeOfName("F32"), std::nullopt);
  EXPECT_EQ(DtypeOfName(""), std::nullopt);
}

}  // namespace
}  // namespace batchnorm
