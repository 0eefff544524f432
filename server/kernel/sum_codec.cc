#include "server/kernel/sum_codec.h"

#include <limits>
#include <utility>
#include <vector>

namespace batchnorm::kernel {
namespace {

enum class Tag : std::uint8_t {
  kZero,
  kPositive,
  kNegative,
  kPlusInf,
  kMinusInf,
  kNan
};

// Limbs of 64 bits. Products of doubles and 2^63 of them lie between 2^-2148
// and 2^2111.
constexpr int kLowestLimb = -34;
constexpr int kEndLimb = 34;
constexpr int kLimbBytes = 8;
// A batch has fewer values, and so have two of them.
constexpr std::uint64_t kMaxCount = std::uint64_t{1} << 62;

// REQUIRES: kind is not kFinite.
Tag TagOf(ExactSum::Kind kind) {
  switch (kind) {
    case ExactSum::Kind::kPlusInf:
      return Tag::kPlusInf;
    case ExactSum::Kind::kMinusInf:
      return Tag::kMinusInf;
    default:
      return Tag::kNan;
  }
}

void PutLittleEndian(std::uint64_t value, char* out) {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<char>(value >> 8 * i);
}

}  // namespace

SumWriter::SumWriter(std::string_view magic, std::int64_t channels)
    : bytes_(magic), size_(magic.size()) {
  // A count and two sums, a sum of up to three limbs, as most are.
  constexpr std::size_t kUsualBytes = 8 + 2 * (3 + 3 * kLimbBytes);
  bytes_.resize(magic.size() + 8 +
                static_cast<std::size_t>(channels) * kUsualBytes);
  WriteLong(static_cast<std::uint64_t>(channels));
}

void SumWriter::WriteCount(std::int64_t count) {
  WriteLong(static_cast<std::uint64_t>(count));
}

void SumWriter::WriteSum(const ExactSum& sum) {
  if (!sum.is_finite()) {
    return WriteTag(static_cast<std::uint8_t>(TagOf(sum.kind())));
  }
  const Dyadic value = sum.Value();
  WriteNumber(value.is_negative(), value.low(), value.limbs());
}

void SumWriter::WriteSum(const SmallSum& sum) {
  WriteNumber(sum.is_negative(), sum.low(), sum.limbs());
}

void SumWriter::WriteNumber(bool negative, int low,
                            std::span<const Dyadic::Limb> limbs) {
  const Tag tag = limbs.empty() ? Tag::kZero
                  : negative    ? Tag::kNegative
                                : Tag::kPositive;
  if (limbs.empty()) return WriteTag(static_cast<std::uint8_t>(tag));
  char* out = Append(3 + limbs.size() * kLimbBytes);
  *out++ = static_cast<char>(tag);
  *out++ = static_cast<char>(low - kLowestLimb);
  *out++ = static_cast<char>(limbs.size());
  for (const Dyadic::Limb limb : limbs) {
    PutLittleEndian(limb, out);
    out += kLimbBytes;
  }
}

void SumWriter::WriteTag(std::uint8_t tag) {
  *Append(1) = static_cast<char>(tag);
}

void SumWriter::WriteLong(std::uint64_t value) {
  PutLittleEndian(value, Append(8));
}

char* SumWriter::Append(std::size_t bytes) {
  if (bytes_.size() - size_ < bytes) bytes_.resize(2 * bytes_.size() + bytes);
  char* const out = bytes_.data() + size_;
  size_ += bytes;
  return out;
}

std::string SumWriter::Take() {
  bytes_.resize(size_);
  return std::move(bytes_);
}

std::optional<std::int64_t> SumReader::ReadHeader(std::string_view magic,
                                                  int bytes_per_channel) {
  if (!rest_.starts_with(magic)) return std::nullopt;
  rest_.remove_prefix(magic.size());
  const auto channels = ReadInteger(8);
  if (!channels) return std::nullopt;
  const auto least = static_cast<std::size_t>(bytes_per_channel);
  if (*channels > rest_.size() / least) return std::nullopt;
  return static_cast<std::int64_t>(*channels);
}

std::optional<std::int64_t> SumReader::ReadCount() {
  const auto count = ReadInteger(8);
  if (!count || *count > kMaxCount) return std::nullopt;
  return static_cast<std::int64_t>(*count);
}

std::optional<ExactSum> SumReader::ReadSum() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto tag = ReadInteger(1);
  if (!tag) return std::nullopt;
  switch (static_cast<Tag>(*tag)) {
    case Tag::kZero:
      return ExactSum();
    case Tag::kPositive:
    case Tag::kNegative:
      return ReadFinite(static_cast<Tag>(*tag) == Tag::kNegative);
    case Tag::kPlusInf:
      return ExactSum::FromNonFinite(kInfinity);
    case Tag::kMinusInf:
      return ExactSum::FromNonFinite(-kInfinity);
    case Tag::kNan:
      return ExactSum::FromNonFinite(std::numeric_limits<double>::quiet_NaN());
  }
  return std::nullopt;
}

std::optional<ExactSum> SumReader::ReadFinite(bool negative) {
  const auto low = ReadInteger(1);
  const auto size = ReadInteger(1);
  constexpr std::uint64_t kMostLimbs = kEndLimb - kLowestLimb;
  if (!low || !size || *size == 0 || *low + *size > kMostLimbs) {
    return std::nullopt;
  }
  LimbList limbs(*size);
  for (std::uint64_t i = 0; i < *size; ++i) {
    const auto limb = ReadInteger(kLimbBytes);
    if (!limb) return std::nullopt;
    limbs[i] = *limb;
  }
  if (limbs[0] == 0 || limbs[*size - 1] == 0) return std::nullopt;
  return ExactSum::FromDyadic(Dyadic::FromLimbs(
      negative, static_cast<int>(*low) + kLowestLimb, std::move(limbs)));
}

std::optional<std::uint64_t> SumReader::ReadInteger(int bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  if (rest_.size() < size) return std::nullopt;
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(rest_[i]);
  }
  rest_.remove_prefix(size);
  return value;
}

}  // namespace batchnorm::kernel
