// What the vector code writes of 16-bit tensors by floats, where these leave no
// doubt, against the formulas in doubles, rounded once by the scalar narrowing.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "server/kernel/coefficients.h"
#include "server/kernel/fast_apply.h"
#include "server/kernel/float_formats.h"
#include "server/kernel/floating_point_scope.h"
#include "tests/unit/kernel/forced_target.h"
#include "tests/unit/kernel/test_tensor.h"

namespace batchnorm::kernel {
namespace {

using Elements = std::vector<std::uint16_t>;

// The numbers of all channels, in which one of them is in force.
struct Channel {
  double mean = 0;
  double gain = 1;
  double beta = 0;
  double mean_dy = 0;
  double k = 0;
};

class IntervalApplyTest
    : public testing::TestWithParam<std::tuple<std::int64_t, Dtype>> {
 protected:
  Dtype dtype() const { return std::get<1>(GetParam()); }
  double Widen(std::uint16_t bits) const {
    return dtype() == Dtype::kF16 ? WidenF16(bits) : WidenBF16(bits);
  }
  std::uint16_t Narrow(double v) const {
    return dtype() == Dtype::kF16 ? NarrowToF16(v) : NarrowToBF16(v);
  }

  // Half of them ordinary, half of any magnitude; finite, but where they may
  // also be NaN and infinite.
  Elements RandomElements(std::size_t size, bool may_be_nan) {
    Elements elements(size);
    for (std::uint16_t& element : elements) {
      element = Narrow(normal_(random_));
      while (random_() % 2 == 0) {
        const auto any = static_cast<std::uint16_t>(random_());
        if (!may_be_nan && !std::isfinite(Widen(any))) continue;
        element = any;
        break;
      }
    }
    return elements;
  }

  // A number below 2^most, and above 2^least, of either sign.
  double Any(int least, int most) {
    std::uniform_real_distribution<double> exponent(least, most);
    return std::exp2(exponent(random_)) * (random_() % 2 == 0 ? 1 : -1);
  }

  // Ordinary numbers, and some that are far from it, 0 included.
  Channel RandomChannel() {
    Channel channel = {Any(-4, 4), Any(-4, 4), Any(-4, 4), Any(-8, 0),
                       Any(-8, 2)};
    for (double* number : {&channel.mean, &channel.gain, &channel.beta,
                           &channel.mean_dy, &channel.k}) {
      if (random_() % 8 == 0) *number = Any(-200, 200);
      if (random_() % 8 == 0) *number = 0;
    }
    // Only inv_std's range is without a scale.
    if (std::abs(channel.gain) > 0x1p100) channel.gain = 1;
    return channel;
  }

  // A number half-way between two of the format, one of the first above 1, and
  // a little above or below it.
  double BesideHalfWay() {
    const double half = dtype() == Dtype::kF16 ? 0x1p-11 : 0x1p-8;
    const double beside = random_() % 2 == 0 ? 0x1p-30 : -0x1p-30;
    return 1 + (2 * static_cast<int>(random_() % 4) + 1) * half + beside;
  }

  // Check, of random elements.
  void Check(Formula formula, const std::vector<Channel>& channels,
             std::int64_t rows, std::int64_t inner, bool streams,
             std::size_t offset, bool may_be_nan = false) {
    const auto size = static_cast<std::size_t>(rows * inner) * channels.size();
    const Elements x = RandomElements(size, may_be_nan);
    const Elements dy = RandomElements(size, may_be_nan);
    Check(formula, channels, x, dy, rows, inner, streams, offset, may_be_nan);
  }

  // Whether ApplyBox writes what the formula says, in a box of `channels` whose
  // elements follow each other or alternate.
  void Check(Formula formula, const std::vector<Channel>& channels,
             const Elements& x, const Elements& dy, std::int64_t rows,
             std::int64_t inner, bool streams, std::size_t offset,
             bool may_be_nan = false) {
    const auto count = static_cast<std::int64_t>(channels.size());
    const std::int64_t columns = count * inner;
    const auto size = static_cast<std::size_t>(rows * columns);
    const bool forward = formula == Formula::kForward;
    Coefficients c =
        forward ? ForwardRoom(channels.size()) : BackwardRoom(channels.size());
    for (std::size_t i = 0; i < channels.size(); ++i) {
      c.mean[i] = channels[i].mean;
      c.mean_lo[i] = channels[i].mean * 0x1.23p-54;
      c.gain[i] = channels[i].gain;
      if (forward) {
        c.beta[i] = channels[i].beta;
        continue;
      }
      c.mean_dy[i] = channels[i].mean_dy;
      c.mean_dy_lo[i] = channels[i].mean_dy * -0x1.45p-54;
      c.k[i] = channels[i].k;
    }
    Elements out(size + offset);
    ApplyBox(formula,
             {dtype(), reinterpret_cast<const std::byte*>(x.data()),
              reinterpret_cast<const std::byte*>(dy.data()),
              reinterpret_cast<std::byte*>(out.data() + offset)},
             Box{0, rows, columns, columns, inner, 0, 0}, c,
             {.streams = streams, .may_be_nan = may_be_nan, .ahead = 0});
    for (std::size_t i = 0; i < size; ++i) {
      const auto column = static_cast<std::int64_t>(i) % columns;
      const auto at = static_cast<std::size_t>(column / inner);
      const double centered = (Widen(x[i]) - c.mean[at]) - c.mean_lo[at];
      double exact = c.gain[at] * centered;
      if (forward) {
        exact += c.beta[at];
      } else {
        exact =
            c.gain[at] * (((Widen(dy[i]) - c.mean_dy[at]) - c.mean_dy_lo[at]) -
                          centered * c.k[at]);
      }
      ASSERT_EQ(out[i + offset], Narrow(Canonical(exact)))
          << "x " << Widen(x[i]) << " dy " << Widen(dy[i]) << " mean "
          << c.mean[at] << " gain " << c.gain[at] << " beta "
          << channels[at].beta << " mean_dy " << channels[at].mean_dy << " k "
          << channels[at].k;
    }
  }

  std::mt19937 random_{20261129};
  std::normal_distribution<double> normal_;

 private:
  FloatingPointScope scope_;
  ForcedTarget target_{std::get<0>(GetParam())};
};

TEST_P(IntervalApplyTest, WritesWhatDoublesSayWhereAChannelsElementsAreARow) {
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    for (int round = 0; round < 40; ++round) {
      std::vector<Channel> channels(5);
      for (Channel& channel : channels) channel = RandomChannel();
      const bool streams = round % 2 == 0;
      const auto inner = static_cast<std::int64_t>(600 + random_() % 50);
      ASSERT_NO_FATAL_FAILURE(
          Check(formula, channels, 2, inner, streams, random_() % 40));
    }
  }
}

TEST_P(IntervalApplyTest, WritesWhatDoublesSayWhereChannelsAreLanes) {
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<Channel> channels(128 + random_() % 2 * (random_() % 70));
      for (Channel& channel : channels) channel = RandomChannel();
      const bool streams = round % 2 == 0;
      ASSERT_NO_FATAL_FAILURE(
          Check(formula, channels, 19, 1, streams, random_() % 40));
    }
  }
}

// A few columns each: lanes of one vector belong to different channels.
TEST_P(IntervalApplyTest, WritesWhatDoublesSayWhereSomeLanesShareAChannel) {
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<Channel> channels(40);
      for (Channel& channel : channels) channel = RandomChannel();
      const bool streams = round % 2 == 0;
      const auto inner = static_cast<std::int64_t>(2 + random_() % 50);
      ASSERT_NO_FATAL_FAILURE(
          Check(formula, channels, 9, inner, streams, random_() % 40));
    }
  }
}

TEST_P(IntervalApplyTest, WritesTheOneNanWhereElementsOrNumbersAreNotFinite) {
  const double kNan = std::numeric_limits<double>::quiet_NaN();
  const double kInfinity = std::numeric_limits<double>::infinity();
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<Channel> channels(40);
      for (Channel& channel : channels) channel = RandomChannel();
      channels[3].mean = channels[5].gain = kNan;
      channels[7].mean_dy = channels[7].beta = kInfinity;
      const bool streams = round % 2 == 0;
      const std::int64_t inner = round % 4 < 2 ? 600 : 1;
      ASSERT_NO_FATAL_FAILURE(
          Check(formula, channels, 20, inner, streams, random_() % 40, true));
    }
  }
}

// Nothing is lost when these numbers become floats, so that the roundings of
// each step are all that errs.
TEST_P(IntervalApplyTest, WritesWhatDoublesSayWhereOnlyTheStepsRound) {
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    std::vector<Channel> channels(1000);
    for (Channel& channel : channels) {
      channel = {Any(-1, 1), Any(-1, 1), Any(-9, 1), Any(-3, 1), 1};
      for (double* number : {&channel.mean, &channel.gain, &channel.beta,
                             &channel.mean_dy, &channel.k}) {
        *number = double{static_cast<float>(*number)};
      }
    }
    ASSERT_NO_FATAL_FAILURE(Check(formula, channels, 1, 1024, false, 0));
  }
}

// Results so near to where rounding turns that all that may err has to be in
// the interval. Numbers a little above 1 lose most by rounding. They are few,
// since one that is in doubt takes its neighbours along.
TEST_P(IntervalApplyTest, WritesWhatDoublesSayBesideWhatIsHalfWay) {
  constexpr std::size_t kColumns = 1024;
  constexpr std::size_t kOneIn = 64;
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    for (int round = 0; round < 100; ++round) {
      std::vector<Channel> channels(kColumns);
      const Elements x(kColumns, Narrow(1));
      const Elements dy(kColumns, Narrow(1));
      for (std::size_t i = 0; i < kColumns; ++i) {
        Channel& channel = channels[i];
        channel.mean = static_cast<float>(-std::abs(Any(-9, -4)));
        channel.mean_dy = static_cast<float>(-std::abs(Any(-9, -4)));
        channel.k = formula == Formula::kForward ? 0 : Any(-6, -5);
        const double before =
            formula == Formula::kForward
                ? 1 - channel.mean
                : 1 - channel.mean_dy - (1 - channel.mean) * channel.k;
        channel.gain = (i % kOneIn == 0 ? BesideHalfWay() : 1) / before;
      }
      ASSERT_NO_FATAL_FAILURE(Check(formula, channels, x, dy, 1, 1, true, 0));
    }
  }
}

// Numbers at which whole results are half-way, 0, subnormal or out of range.
TEST_P(IntervalApplyTest, WritesWhatDoublesSayAtTheEdges) {
  std::vector<Channel> channels;
  for (const double gain : {0.0, -0.0, 1.0, -1.5, 1.5 + 0x1p-45, 0x1p-14,
                            0x1p-24, 0x1p-100, 0x1p-101, 0x1p40, 0x1p41}) {
    for (const double beta : {0.0, -0.0, 0x1p-133, -0x1p-150, 1.0 + 0x1p-9,
                              1.0 + 0x1p-12, 0x1p100, 65519.9}) {
      channels.push_back({.mean = 0, .gain = gain, .beta = beta});
      channels.push_back({.mean = 1 + 0x1p-24, .gain = gain, .beta = beta});
      channels.push_back({.mean = 1.5, .gain = gain, .k = beta});
      channels.push_back({.mean = 0x1p100, .gain = gain, .mean_dy = beta});
    }
  }
  for (const auto formula : {Formula::kForward, Formula::kBackward}) {
    ASSERT_NO_FATAL_FAILURE(Check(formula, channels, 1, 1024, false, 0));
    ASSERT_NO_FATAL_FAILURE(Check(formula, channels, 64, 1, true, 3));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, IntervalApplyTest,
    testing::Combine(testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                     testing::Values(Dtype::kF16, Dtype::kBF16)),
    NameOfTargetAndDtype);

}  // namespace
}  // namespace batchnorm::kernel
