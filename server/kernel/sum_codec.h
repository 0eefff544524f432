// The bytes of exact sums. The grammar is in README.md, "Serialised sums".
//
// Writing is canonical: equal values give equal bytes. Reading accepts nothing
// else, allocates in proportion to the bytes it was given, and may be fed
// anything. Thread-safe.
#ifndef BATCHNORMD_SERVER_KERNEL_SUM_CODEC_H_
#define BATCHNORMD_SERVER_KERNEL_SUM_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/kernel/exact_sum.h"
#include "server/kernel/small_sum.h"

namespace batchnorm::kernel {

class SumWriter {
 public:
  // `magic` names the kind of message and the version of its format.
  SumWriter(std::string_view magic, std::int64_t channels);

  void WriteCount(std::int64_t count);
  void WriteSum(const ExactSum& sum);
  // The same bytes, without an allocation.
  void WriteSum(const SmallSum& sum);
  std::string Take();

 private:
  // The number of these limbs, from the lowest, of which 0 has none.
  void WriteNumber(bool negative, int low, std::span<const Dyadic::Limb> limbs);
  void WriteTag(std::uint8_t tag);
  void WriteLong(std::uint64_t value);
  // Where to write that many more.
  char* Append(std::size_t bytes);

  std::string bytes_;
  std::size_t size_;  // of what is written
};

class SumReader {
 public:
  explicit SumReader(std::string_view bytes) : rest_(bytes) {}

  // The number of channels. REQUIRES (of the bytes): the magic, and at least
  // `bytes_per_channel` for each; otherwise empty, as below.
  std::optional<std::int64_t> ReadHeader(std::string_view magic,
                                         int bytes_per_channel);
  std::optional<std::int64_t> ReadCount();
  std::optional<ExactSum> ReadSum();
  bool AtEnd() const { return rest_.empty(); }

 private:
  std::optional<std::uint64_t> ReadInteger(int bytes);
  std::optional<ExactSum> ReadFinite(bool negative);

  std::string_view rest_;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_SUM_CODEC_H_
