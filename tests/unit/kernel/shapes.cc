#include "tests/unit/kernel/shapes.h"

#include <cmath>
#include <cstddef>

namespace batchnorm::kernel {

std::string Shape::Text() const {
  std::string text = "sizes";
  for (const std::int64_t size : sizes) {
    text.append(" ").append(std::to_string(size));
  }
  text.append(", channels");
  for (const int axis : channel_axes) {
    text.append(" ").append(std::to_string(axis));
  }
  return text;
}

Shape RandomShape(std::int64_t size, Random& random) {
  const auto rank = 1 + random() % 5;
  Shape shape;
  double left = static_cast<double>(size);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const double share = std::pow(left, 1.0 / static_cast<double>(rank - axis));
    const auto most = static_cast<std::uint64_t>(2 * share) + 1;
    shape.sizes.push_back(1 + static_cast<std::int64_t>(random() % most));
    left = std::max(1.0, left / static_cast<double>(shape.sizes.back()));
    if (random() % 2 == 0) shape.channel_axes.push_back(static_cast<int>(axis));
  }
  return shape;
}

std::vector<Shape> EdgeShapes() {
  std::vector<Shape> shapes;
  for (const std::int64_t n : {1, 3, 4, 5, 7, 8, 9, 63, 64, 65, 130}) {
    for (const std::int64_t c : {1, 3, 15, 16, 17, 33}) {
      shapes.push_back({{n, c}, {1}});
    }
  }
  // One strip of columns, and more.
  for (const std::int64_t c : {511, 512, 513, 767, 768, 769, 1030, 2310}) {
    shapes.push_back({{9, c}, {1}});
  }
  for (const std::int64_t plane :
       {2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 49, 95, 196, 255, 513, 1025}) {
    shapes.push_back({{5, 3, plane}, {1}});
  }
  // Small planes, and more of them than share a strip.
  for (const std::int64_t plane : {17, 49, 63}) {
    shapes.push_back({{9, 40, plane}, {1}});
  }
  // Rows that are folded, with some left over.
  for (const std::int64_t c : {2, 3, 10, 24}) {
    shapes.push_back({{2500, c}, {1}});
  }
  shapes.push_back({{1100, 3, 5}, {1}});
  shapes.push_back({{5000}, {}});
  shapes.push_back({{3, 2, 4, 3, 5}, {1, 3}});
  shapes.push_back({{2, 3, 4, 70}, {0, 2}});
  return shapes;
}

}  // namespace batchnorm::kernel
