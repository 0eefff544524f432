// The limbs of a big integer: few of them in place, more on the heap. So what
// ordinary sums come to needs no memory of its own.
#ifndef BATCHNORMD_SERVER_KERNEL_LIMB_LIST_H_
#define BATCHNORMD_SERVER_KERNEL_LIMB_LIST_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace batchnorm::kernel {

// A value type that only gets shorter; thread-compatible.
class LimbList {
 public:
  using Limb = std::uint64_t;

  LimbList() = default;
  // Zeros.
  explicit LimbList(std::size_t size) : size_(size) {
    if (size > kFew) {
      many_.resize(size);
    } else {
      std::fill_n(few_.begin(), size, 0);
    }
  }
  LimbList(std::initializer_list<Limb> limbs) : LimbList(limbs.size()) {
    std::ranges::copy(limbs, this->limbs().begin());
  }

  // Without the places that are not in use, which are most.
  LimbList(const LimbList& other) : many_(other.many_) { CopyFew(other); }
  LimbList(LimbList&& other) noexcept : many_(std::move(other.many_)) {
    CopyFew(other);
    other.size_ = 0;
  }
  LimbList& operator=(const LimbList& other) {
    if (this != &other) *this = LimbList(other);
    return *this;
  }
  LimbList& operator=(LimbList&& other) noexcept {
    many_ = std::move(other.many_);
    CopyFew(other);
    other.size_ = 0;
    return *this;
  }
  ~LimbList() = default;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const Limb> limbs() const {
    return {many_.empty() ? few_.data() : many_.data(), size_};
  }
  std::span<Limb> limbs() {
    return {many_.empty() ? few_.data() : many_.data(), size_};
  }
  Limb& operator[](std::size_t i) { return limbs()[i]; }
  Limb operator[](std::size_t i) const { return limbs()[i]; }

  // The limbs from `begin` on, before `end`, are left.
  void Keep(std::size_t begin, std::size_t end) {
    const std::span<Limb> all = limbs();
    if (begin > 0) {
      std::ranges::copy(all.subspan(begin, end - begin), all.begin());
    }
    size_ = end - begin;
  }

  friend bool operator==(const LimbList& a, const LimbList& b) {
    return std::ranges::equal(a.limbs(), b.limbs());
  }

 private:
  static constexpr std::size_t kFew = 12;

  void CopyFew(const LimbList& other) {
    size_ = other.size_;
    if (many_.empty()) std::copy_n(other.few_.begin(), size_, few_.begin());
  }

  std::size_t size_ = 0;
  std::array<Limb, kFew> few_;  // in use if many_ is empty
  std::vector<Limb> many_;
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_LIMB_LIST_H_
