#include "tests/benchmarks/classes.h"

#include <array>
#include <cstdint>

namespace batchnorm::benchmark {
namespace {

constexpr std::int64_t kKiB = 1 << 10;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kLargePlane = 784;

bool IsOver(const Problem& problem, std::int64_t bytes) {
  return problem.shape.f32_bytes() > bytes;
}

bool IsNc(const Problem& problem, std::int64_t batch, std::int64_t channels) {
  return problem.layout == Layout::kNc && problem.shape.batch == batch &&
         problem.shape.channels == channels;
}

bool IsNchwOver16MiB(const Problem& problem) {
  return problem.layout == Layout::kNchw && IsOver(problem, 16 * kMiB);
}

}  // namespace

const Class kOver64KiB = {
    "all over 64 KiB", [](const Problem& p) { return IsOver(p, 64 * kKiB); }};
const Class kOver1MiB = {"all over 1 MiB",
                         [](const Problem& p) { return IsOver(p, kMiB); }};
const Class kOver16MiB = {
    "all over 16 MiB", [](const Problem& p) { return IsOver(p, 16 * kMiB); }};
const Class kNchw = {"NCHW over 64 KiB", [](const Problem& p) {
                       return p.layout == Layout::kNchw && IsOver(p, 64 * kKiB);
                     }};
const Class kNhwc = {"NHWC over 64 KiB", [](const Problem& p) {
                       return p.layout == Layout::kNhwc && IsOver(p, 64 * kKiB);
                     }};
const Class kNhwcAndNc = {"NHWC and N x C over 64 KiB", [](const Problem& p) {
                            return p.layout != Layout::kNchw &&
                                   IsOver(p, 64 * kKiB);
                          }};
const Class kLargePlanes = {
    "NCHW over 16 MiB, planes from 784", [](const Problem& p) {
      return IsNchwOver16MiB(p) && p.shape.pixels() >= kLargePlane;
    }};
const Class kSmallPlanes = {
    "NCHW over 16 MiB, smaller planes", [](const Problem& p) {
      return IsNchwOver16MiB(p) && p.shape.pixels() < kLargePlane;
    }};
const Class kLargeRows = {"NHWC over 16 MiB", [](const Problem& p) {
                            return p.layout == Layout::kNhwc &&
                                   IsOver(p, 16 * kMiB);
                          }};
const Class kNc4096x512 = {"N x C 4096 x 512",
                           [](const Problem& p) { return IsNc(p, 4096, 512); }};
const Class kNc32x64 = {"N x C 32 x 64",
                        [](const Problem& p) { return IsNc(p, 32, 64); }};

std::span<const Class* const> AllClasses() {
  static constexpr std::array kAll = {&kOver64KiB,   &kOver1MiB,    &kOver16MiB,
                                      &kNchw,        &kNhwc,        &kNhwcAndNc,
                                      &kLargePlanes, &kSmallPlanes, &kLargeRows,
                                      &kNc4096x512,  &kNc32x64};
  return kAll;
}

}  // namespace batchnorm::benchmark
