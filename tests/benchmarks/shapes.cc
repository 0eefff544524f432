#include "tests/benchmarks/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <numeric>
#include <sstream>
#include <stdexcept>

namespace batchnorm::benchmark {
namespace {

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) {
    parts.push_back(part);
  }
  return parts;
}

std::vector<std::int64_t> ParseSizes(const std::string& text) {
  std::vector<std::int64_t> sizes;
  for (const std::string& size : Split(text, 'x')) {
    sizes.push_back(std::stoll(size));
  }
  return sizes;
}

// set,name,N,C,spatial,source
Shape ParseRow(const std::string& line) {
  const std::vector<std::string> fields = Split(line, ',');
  if (fields.size() < 6) throw std::invalid_argument("too few fields");
  Shape shape{fields[0] + "/" + fields[1], std::stoll(fields[2]),
              std::stoll(fields[3]), ParseSizes(fields[4])};
  if (shape.pixels() == 1) shape.spatial.clear();
  return shape;
}

bool SameSizes(const Shape& a, const Shape& b) {
  return a.batch == b.batch && a.channels == b.channels &&
         a.spatial == b.spatial;
}

std::vector<Layout> LayoutsOf(const Shape& shape) {
  if (shape.spatial.empty()) return {Layout::kNc};
  return {Layout::kNchw, Layout::kNhwc};
}

}  // namespace

std::int64_t Shape::pixels() const {
  return std::accumulate(spatial.begin(), spatial.end(), std::int64_t{1},
                         std::multiplies<>());
}

std::vector<Shape> ReadShapes(const std::string& file) {
  std::ifstream stream(file);
  std::string line;
  if (!std::getline(stream, line)) {
    throw std::runtime_error(fmt::format("{} cannot be read", file));
  }
  std::vector<Shape> shapes;
  for (int number = 2; std::getline(stream, line); ++number) {
    try {
      const Shape shape = ParseRow(line);
      const bool is_new = std::none_of(
          shapes.begin(), shapes.end(),
          [&](const Shape& other) { return SameSizes(shape, other); });
      if (is_new) shapes.push_back(shape);
    } catch (const std::logic_error& error) {
      throw std::runtime_error(
          fmt::format("{}:{}: {}", file, number, error.what()));
    }
  }
  return shapes;
}

const char* NameOf(Layout layout) {
  switch (layout) {
    case Layout::kNchw:
      return "nchw";
    case Layout::kNhwc:
      return "nhwc";
    case Layout::kNc:
      return "nc";
  }
  return "";
}

const char* NameOf(Direction direction) {
  return direction == Direction::kForward ? "forward" : "backward";
}

std::string Problem::Name() const {
  return fmt::format("{} {} {}", shape.name, NameOf(layout), NameOf(direction));
}

kernel::ChannelLayout Problem::KernelLayout() const {
  std::vector<std::int64_t> sizes = {shape.batch};
  int channel_axis = 1;
  if (layout == Layout::kNhwc) {
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
    channel_axis = static_cast<int>(sizes.size());
    sizes.push_back(shape.channels);
  } else {
    sizes.push_back(shape.channels);
    sizes.insert(sizes.end(), shape.spatial.begin(), shape.spatial.end());
  }
  return {sizes, std::vector<int>{channel_axis}};
}

std::vector<Problem> AllProblems(const std::vector<Shape>& shapes) {
  std::vector<Problem> problems;
  for (const Shape& shape : shapes) {
    for (const Layout layout : LayoutsOf(shape)) {
      problems.push_back({shape, layout, Direction::kForward});
      problems.push_back({shape, layout, Direction::kBackward});
    }
  }
  return problems;
}

std::string SizesOf(const Shape& shape) {
  std::string text = fmt::format("{}x{}", shape.batch, shape.channels);
  for (const std::int64_t size : shape.spatial)
    text += fmt::format("x{}", size);
  return text;
}

}  // namespace batchnorm::benchmark
