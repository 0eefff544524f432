#include "server/rpc/sums_mapping.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/kernel/sum_limbs.h"
#include "server/session/config.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

constexpr auto kMaxLimbs = static_cast<std::int64_t>(kernel::kMaxLimbs);
// What all ranks together count fits 63 bits.
constexpr std::int64_t kMaxCount = std::int64_t{1} << 50;

absl::Status BadSums(std::string_view field, std::string_view text) {
  return session::InvalidField(field, "BAD_SUMS", text);
}

// The limbs of an Expansion, which has to outlive them.
struct Limbs {
  std::int64_t channels = 0;
  std::span<const std::byte> bytes;
  std::vector<std::int32_t> scales;

  kernel::LimbsView view() const { return {bytes, scales}; }
};

absl::Status CheckForm(const v1::Expansion& expansion,
                       const std::string& field) {
  const v1::Tensor& limbs = expansion.limbs();
  if (limbs.dtype() != v1::DTYPE_F64) {
    return BadSums(field + ".limbs.dtype", "expected DTYPE_F64");
  }
  if (limbs.shape_size() != 2 || limbs.shape(0) < 1 ||
      limbs.shape(0) > kMaxLimbs || limbs.shape(1) < 1 ||
      limbs.shape(1) > session::kMaxChannels) {
    return BadSums(field + ".limbs.shape",
                   absl::StrCat("expected [limbs, channels] with 1 to ",
                                kMaxLimbs, " limbs, got another shape"));
  }
  const auto bytes = static_cast<std::size_t>(limbs.shape(0) * limbs.shape(1)) *
                     sizeof(double);
  if (limbs.data().size() != bytes) {
    return BadSums(
        field + ".limbs.data",
        absl::StrCat("expected ", bytes, " bytes, got ", limbs.data().size()));
  }
  if (expansion.scales_size() != 0 &&
      expansion.scales_size() != limbs.shape(0)) {
    return BadSums(field + ".scales",
                   absl::StrCat("expected none or ", limbs.shape(0), ", got ",
                                expansion.scales_size()));
  }
  for (const std::int32_t scale : expansion.scales()) {
    if (scale < -kernel::kMaxLimbScale || scale > kernel::kMaxLimbScale) {
      return BadSums(field + ".scales",
                     absl::StrCat("expected at most ", kernel::kMaxLimbScale,
                                  " in magnitude, got ", scale));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Limbs> Read(const v1::Expansion& expansion,
                           const std::string& field) {
  absl::Status form = CheckForm(expansion, field);
  if (!form.ok()) return form;
  Limbs limbs;
  limbs.channels = expansion.limbs().shape(1);
  limbs.bytes = std::as_bytes(std::span(expansion.limbs().data()));
  limbs.scales.assign(expansion.scales().begin(), expansion.scales().end());
  limbs.scales.resize(static_cast<std::size_t>(expansion.limbs().shape(0)));
  return limbs;
}

// Two that belong together.
struct Both {
  Limbs sum;
  Limbs products;
};

absl::StatusOr<Both> Read(const v1::Expansion& sum, const char* sum_field,
                          const v1::Expansion& products,
                          const char* products_field) {
  absl::StatusOr<Limbs> first = Read(sum, sum_field);
  if (!first.ok()) return first.status();
  absl::StatusOr<Limbs> second = Read(products, products_field);
  if (!second.ok()) return second.status();
  if (first->channels != second->channels) {
    return BadSums(
        absl::StrCat(products_field, ".limbs.shape"),
        absl::StrCat("expected ", first->channels, " channels, as before, got ",
                     second->channels));
  }
  return Both{*std::move(first), *std::move(second)};
}

// The count is -1 where there is none.
session::Digest DigestOf(std::uint32_t rank, std::int64_t count,
                         const v1::Expansion& sum,
                         const v1::Expansion& products) {
  std::vector<std::int64_t> numbers = {count};
  for (const v1::Expansion* each : {&sum, &products}) {
    numbers.push_back(each->scales_size());
    numbers.insert(numbers.end(), each->scales().begin(), each->scales().end());
  }
  const std::string_view parts[] = {sum.limbs().data(),
                                    products.limbs().data()};
  return session::CarriedDigest(rank, numbers, parts);
}

}  // namespace

absl::StatusOr<kernel::ForwardSums> FromProto(const v1::ForwardSums& sums) {
  if (sums.count() < 0 || sums.count() > kMaxCount) {
    return BadSums("forward.count", absl::StrCat("expected 0 to ", kMaxCount,
                                                 ", got ", sums.count()));
  }
  const absl::StatusOr<Both> both =
      Read(sums.sum(), "forward.sum", sums.sum_of_squares(),
           "forward.sum_of_squares");
  if (!both.ok()) return both.status();
  std::optional<kernel::ForwardSums> taken =
      kernel::ForwardSumsOfLimbs(both->sum.channels, sums.count(),
                                 both->sum.view(), both->products.view());
  if (taken.has_value()) return *std::move(taken);
  return BadSums("forward.sum",
                 sums.count() == 0
                     ? "expected zeros, as count is 0, got others"
                     : "expected sums that numbers can have, got others");
}

absl::StatusOr<kernel::BackwardSums> FromProto(const v1::BackwardSums& sums) {
  const absl::StatusOr<Both> both = Read(sums.sum_dy(), "backward.sum_dy",
                                         sums.sum_dy_x(), "backward.sum_dy_x");
  if (!both.ok()) return both.status();
  std::optional<kernel::BackwardSums> taken = kernel::BackwardSumsOfLimbs(
      both->sum.channels, both->sum.view(), both->products.view());
  if (taken.has_value()) return *std::move(taken);
  return BadSums("backward.sum_dy",
                 "expected sums that numbers can have, got others");
}

session::Digest DigestOf(std::uint32_t rank, const v1::ForwardSums& sums) {
  return DigestOf(rank, sums.count(), sums.sum(), sums.sum_of_squares());
}

session::Digest DigestOf(std::uint32_t rank, const v1::BackwardSums& sums) {
  return DigestOf(rank, -1, sums.sum_dy(), sums.sum_dy_x());
}

}  // namespace batchnorm::rpc
