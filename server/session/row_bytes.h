// Numbers and lists of them as little-endian bytes, written and read in order.
//
// A reader that runs out of bytes, or finds a length beyond them, is not ok()
// from then on and gives zeros and empty lists: callers check once, at the end.
#ifndef BATCHNORMD_SERVER_SESSION_ROW_BYTES_H_
#define BATCHNORMD_SERVER_SESSION_ROW_BYTES_H_

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace batchnorm::session {

static_assert(std::endian::native == std::endian::little,
              "stored bytes are little-endian");

class ByteWriter {
 public:
  template <typename T>
  void Add(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  // Without their number.
  template <typename T>
  void AddAll(const std::vector<T>& values) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(values.data()),
                  values.size() * sizeof(T));
  }

  // REQUIRES: at most 255 bytes.
  void AddShort(std::string_view text) {
    Add(static_cast<std::uint8_t>(text.size()));
    bytes_.append(text);
  }

  // Any number of bytes, after it.
  void AddLong(std::string_view text) {
    Add(static_cast<std::uint64_t>(text.size()));
    bytes_.append(text);
  }

  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Read() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    const std::string_view bytes = Take(sizeof(T));
    bytes.copy(reinterpret_cast<char*>(&value), sizeof(T));
    return value;
  }

  template <typename T>
  std::vector<T> ReadAll(std::uint64_t count) {
    static_assert(std::is_arithmetic_v<T>);
    if (count > rest_.size() / sizeof(T)) ok_ = false;
    if (!ok_ || count == 0) return {};
    std::vector<T> values(count);
    const std::string_view bytes = Take(count * sizeof(T));
    bytes.copy(reinterpret_cast<char*>(values.data()), bytes.size());
    return values;
  }

  std::string ReadShort() { return std::string(Take(Read<std::uint8_t>())); }

  std::string_view ReadLong() { return Take(Read<std::uint64_t>()); }

  // What was read makes no sense.
  void Fail() { ok_ = false; }

  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  std::string_view Take(std::size_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_ROW_BYTES_H_
