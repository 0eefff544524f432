#include "server/session/fingerprint.h"

#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // the widest vectors there are
#else
#include <xxhash.h>
#endif

#include <bit>
#include <memory>

namespace batchnorm::session {

namespace {

static_assert(std::endian::native == std::endian::little,
              "digests are over little-endian bytes");

// Hashes a sequence of fields, each list with its length before it, so that
// no two different sequences are the same bytes.
class Hasher {
 public:
  Hasher() : state_(XXH3_createState(), &XXH3_freeState) {
    XXH3_128bits_reset(state_.get());
  }

  void Add(std::uint64_t value) { AddBytes(&value, sizeof(value)); }

  template <typename T>
  void AddList(std::span<const T> values) {
    Add(values.size());
    AddBytes(values.data(), values.size_bytes());
  }

  Digest Finish() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {.high = hash.high64, .low = hash.low64};
  }

 private:
  void AddBytes(const void* bytes, std::size_t size) {
    XXH3_128bits_update(state_.get(), bytes, size);
  }

  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

}  // namespace

Digest InputDigest(std::uint32_t rank, kernel::Dtype dtype,
                   std::span<const std::int64_t> shape,
                   std::span<const double> gamma, std::string_view sums) {
  Hasher hasher;
  hasher.Add(rank);
  hasher.Add(static_cast<std::uint64_t>(dtype));
  hasher.AddList(shape);
  hasher.AddList(gamma);
  hasher.AddList(std::span<const char>(sums));
  return hasher.Finish();
}

Digest CarriedDigest(std::uint32_t rank, std::span<const std::int64_t> numbers,
                     std::span<const std::string_view> parts) {
  Hasher hasher;
  hasher.Add(rank);
  hasher.AddList(numbers);
  for (const std::string_view part : parts) {
    hasher.AddList(std::span<const char>(part));
  }
  return hasher.Finish();
}

Digest ParameterDigest(std::optional<double> new_weight,
                       std::span<const double> beta) {
  Hasher hasher;
  hasher.Add(new_weight.has_value() ? 1 : 0);
  hasher.Add(std::bit_cast<std::uint64_t>(new_weight.value_or(0.0)));
  hasher.AddList(beta);
  return hasher.Finish();
}

}  // namespace batchnorm::session
