#include "tests/benchmarks/problem_choice.h"

#include <algorithm>
#include <array>
#include <regex>
#include <stdexcept>
#include <string_view>

namespace batchnorm::benchmark {
namespace {

// At least one of each class that a target is about.
constexpr std::array<std::string_view, 6> kQuick = {
    "net_resnet50_v1.5_b32/layer1.conv1/2*6",   // 32x64x56x56, 25 MiB
    "net_resnet50_v1.5_b32/layer3.conv3/ds*7",  // 32x1024x14x14, 25 MiB
    "net_mobilenet_v2_b32/b5/6.exp/dw+b7.exp*5",
    "net_unet3d_b2/l4*2",
    "net_mlp/b4096_c512",
    "net_mlp/b32_c64"};

bool IsQuick(const Shape& shape) {
  return std::find(kQuick.begin(), kQuick.end(), shape.name) != kQuick.end();
}

std::regex Pattern(const std::string& text) {
  try {
    return std::regex(text);
  } catch (const std::regex_error&) {
    throw std::invalid_argument("--only: not a regular expression: " + text);
  }
}

}  // namespace

std::vector<Problem> ChooseProblems(const Options& options) {
  std::vector<Shape> shapes =
      ReadShapes(BN_SOURCE_DIR "/tests/data/bnorm_shapes.csv");
  if (options.is_quick) {
    std::erase_if(shapes, [](const Shape& shape) { return !IsQuick(shape); });
  }
  std::vector<Problem> problems = AllProblems(shapes);
  const std::regex pattern = Pattern(options.only);
  std::erase_if(problems, [&](const Problem& problem) {
    return !std::regex_search(problem.Name(), pattern);
  });
  if (problems.empty()) {
    throw std::invalid_argument("--only matches no problem: " + options.only);
  }
  return problems;
}

}  // namespace batchnorm::benchmark
