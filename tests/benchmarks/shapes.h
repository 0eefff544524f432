// The problems of the benchmark: published shapes in every layout.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SHAPES_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/kernel/channel_layout.h"

namespace batchnorm::benchmark {

// One row of tests/data/bnorm_shapes.csv.
struct Shape {
  std::string name;  // SET/NAME
  std::int64_t batch;
  std::int64_t channels;
  std::vector<std::int64_t> spatial;  // empty: N x C

  std::int64_t pixels() const;  // values of one channel of one example
  std::int64_t size() const { return batch * channels * pixels(); }
  std::int64_t f32_bytes() const { return size() * 4; }
};

// Reads the csv; of rows with the same sizes only the first. Throws
// std::runtime_error if there is no such file or it is not of that form.
std::vector<Shape> ReadShapes(const std::string& file);

// Where the channels are. With one pixel the first two are the same: kNc.
enum class Layout : std::uint8_t { kNchw, kNhwc, kNc };
enum class Direction : std::uint8_t { kForward, kBackward };

const char* NameOf(Layout layout);
const char* NameOf(Direction direction);

struct Problem {
  Shape shape;
  Layout layout;
  Direction direction;

  // SET/NAME LAYOUT DIRECTION: what --only searches.
  std::string Name() const;
  kernel::ChannelLayout KernelLayout() const;
};

// Each shape in each layout it can have and both directions.
std::vector<Problem> AllProblems(const std::vector<Shape>& shapes);

// 50x64x112x112.
std::string SizesOf(const Shape& shape);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SHAPES_H_
