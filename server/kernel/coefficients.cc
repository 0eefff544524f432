#include "server/kernel/coefficients.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace batchnorm::kernel {
namespace {

// What a vector may read behind the last channel.
constexpr std::size_t kRoom = 32;
// In a cache line: each row begins with one.
constexpr std::size_t kLineNumbers = 8;

void SetRows(std::initializer_list<std::span<double>*> rows,
             std::size_t channels, std::vector<double>& numbers) {
  const std::size_t size =
      (channels + kRoom + kLineNumbers - 1) / kLineNumbers * kLineNumbers;
  numbers.resize(rows.size() * size + kLineNumbers);
  const std::size_t past_line =
      reinterpret_cast<std::uintptr_t>(numbers.data()) / sizeof(double) %
      kLineNumbers;
  double* at = numbers.data() + (kLineNumbers - past_line);
  for (std::span<double>* row : rows) {
    *row = {at, size};
    at += size;
  }
}

void Copy(const std::vector<double>& from, ChannelRange range,
          std::span<double> to) {
  std::copy(from.begin() + static_cast<std::ptrdiff_t>(range.first),
            from.begin() + static_cast<std::ptrdiff_t>(range.end),
            to.begin() + static_cast<std::ptrdiff_t>(range.first));
}

void SetGain(const Statistics& statistics, std::span<const double> gamma,
             ChannelRange range, Coefficients& c) {
  for (std::size_t i = range.first; i < range.end; ++i) {
    const double scale_of_x_hat = gamma.empty() ? 1.0 : gamma[i];
    c.gain[i] = scale_of_x_hat * statistics.scaled_inv_std[i];
  }
}

void SetCenter(const Statistics& statistics, ChannelRange range,
               Coefficients& c) {
  Copy(statistics.mean, range, c.mean);
  Copy(statistics.scaled_mean_lo, range, c.mean_lo);
}

}  // namespace

Coefficients ForwardRoom(std::size_t channels) {
  Coefficients c;
  SetRows({&c.mean, &c.mean_lo, &c.gain, &c.beta}, channels, c.numbers);
  return c;
}

Coefficients BackwardRoom(std::size_t channels) {
  Coefficients c;
  SetRows({&c.mean, &c.mean_lo, &c.gain, &c.mean_dy, &c.mean_dy_lo, &c.k},
          channels, c.numbers);
  return c;
}

void SetForward(const Statistics& statistics, std::span<const double> gamma,
                std::span<const double> beta, ChannelRange range,
                Coefficients& c) {
  SetCenter(statistics, range, c);
  SetGain(statistics, gamma, range, c);
  for (std::size_t i = range.first; i < range.end; ++i) {
    c.beta[i] = beta.empty() ? 0.0 : beta[i];
  }
}

void SetBackward(const Statistics& statistics, const Gradients& gradients,
                 std::span<const double> gamma, ChannelRange range,
                 Coefficients& c) {
  SetCenter(statistics, range, c);
  SetGain(statistics, gamma, range, c);
  Copy(gradients.mean_dy, range, c.mean_dy);
  Copy(gradients.mean_dy_lo, range, c.mean_dy_lo);
  Copy(gradients.k, range, c.k);
}

bool AreUnscaled(const Statistics& statistics, ChannelRange range) {
  bool unscaled = true;
  for (std::size_t i = range.first; i < range.end; ++i) {
    unscaled &= statistics.scale[i] == 0;
  }
  return unscaled;
}

}  // namespace batchnorm::kernel
