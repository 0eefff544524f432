// What a step was taken with, in 32 bytes: two requests with equal fingerprints
// get the same reply, so one may replay the other.
//
// XXH3 with 128 bits over canonical bytes. It tells accidents apart (a batch
// sent under the wrong step), not forgeries: callers of a session trust each
// other. Another order of the same values within a channel has the same sums
// and therefore the same digest. Functions are pure and thread-safe.
#ifndef BATCHNORMD_SERVER_SESSION_FINGERPRINT_H_
#define BATCHNORMD_SERVER_SESSION_FINGERPRINT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "server/kernel/tensor_view.h"

namespace batchnorm::session {

struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  bool operator==(const Digest&) const = default;
};

struct Fingerprint {
  Digest input;       // checked again where x and gamma are sent again
  Digest parameters;  // of Forward only

  bool operator==(const Fingerprint&) const = default;
};

// Of the rank, x's dtype and shape, gamma, and the canonical exact n, S and Q:
// `sums` is ForwardSums::Serialize(). An absent gamma (empty) is not a gamma of
// ones.
Digest InputDigest(std::uint32_t rank, kernel::Dtype dtype,
                   std::span<const std::int64_t> shape,
                   std::span<const double> gamma, std::string_view sums);

// Of the rank and the sums that it sent, as they came: numbers and bytes in the
// order of the message.
Digest CarriedDigest(std::uint32_t rank, std::span<const std::int64_t> numbers,
                     std::span<const std::string_view> parts);

// Of the weight in force for the step (empty: the cumulative average) and beta.
Digest ParameterDigest(std::optional<double> new_weight,
                       std::span<const double> beta);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_FINGERPRINT_H_
