#include "proto/wire/tensor_codec.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace batchnorm::wire {
namespace {

constexpr Dtype kDtypes[] = {Dtype::kF16, Dtype::kBF16, Dtype::kF32,
                             Dtype::kF64};

TEST(TensorCodec, DtypesHaveTheNumbersOfTheContract) {
  EXPECT_EQ(static_cast<int>(ToProto(Dtype::kF16)), 1);
  EXPECT_EQ(static_cast<int>(ToProto(Dtype::kBF16)), 2);
  EXPECT_EQ(static_cast<int>(ToProto(Dtype::kF32)), 3);
  EXPECT_EQ(static_cast<int>(ToProto(Dtype::kF64)), 4);
}

TEST(TensorCodec, EveryTensorComesBackAsItWas) {
  for (const Dtype dtype : kDtypes) {
    for (const auto& shape : std::vector<std::vector<std::int64_t>>{
             {}, {0}, {3, 0, 2}, {2, 3}, {1, 1, 1, 1, 1, 1, 1, 1}}) {
      const Tensor sent{dtype, shape, std::string("\0\x01\xff bytes", 9)};
      v1::Tensor received;
      ASSERT_TRUE(received.ParseFromString(ToProto(sent).SerializeAsString()));
      const auto tensor = FromProto(std::move(received));
      ASSERT_TRUE(tensor.has_value());
      EXPECT_EQ(tensor->dtype, sent.dtype);
      EXPECT_EQ(tensor->shape, sent.shape);
      EXPECT_EQ(tensor->data, sent.data);
    }
  }
}

TEST(TensorCodec, PayloadsAreMovedNotCopied) {
  Tensor tensor{Dtype::kF32, {1 << 18}, std::string(1 << 20, 'x')};
  const char* bytes = tensor.data.data();
  v1::Tensor proto = ToProto(std::move(tensor));
  EXPECT_EQ(proto.data().data(), bytes);
  const auto back = FromProto(std::move(proto));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->data.data(), bytes);
}

TEST(TensorCodec, UnknownDtypesAreEmpty) {
  for (const int number : {0, 5, -1, 1 << 30}) {
    v1::Tensor proto;
    proto.set_dtype(static_cast<v1::Dtype>(number));
    EXPECT_FALSE(FromProto(proto.dtype()).has_value()) << number;
    EXPECT_FALSE(FromProto(std::move(proto)).has_value()) << number;
  }
}

TEST(TensorCodec, WhatDoesNotFitTogetherIsPassedOnForTheServerToName) {
  v1::Tensor proto;
  proto.set_dtype(v1::DTYPE_F64);
  proto.add_shape(-3);
  proto.set_data("odd");
  const auto tensor = FromProto(std::move(proto));
  ASSERT_TRUE(tensor.has_value());
  EXPECT_EQ(tensor->shape, std::vector<std::int64_t>{-3});
  EXPECT_EQ(tensor->data, "odd");
}

}  // namespace
}  // namespace batchnorm::wire
