#include "tests/benchmarks/pytorch_peer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

namespace batchnorm::benchmark {
namespace {

using nlohmann::json;

std::vector<std::string> EnvironmentFor(Heap heap) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (!text.starts_with("MALLOC_")) variables.emplace_back(text);
  }
  if (heap == Heap::kReused) {
    variables.insert(variables.end(), {"MALLOC_MMAP_THRESHOLD_=4294967296",
                                       "MALLOC_TRIM_THRESHOLD_=17179869184",
                                       "MALLOC_TOP_PAD_=1073741824"});
  }
  return variables;
}

json SizesAsJson(const Shape& shape) {
  json sizes = {shape.batch, shape.channels};
  for (const std::int64_t size : shape.spatial) sizes.push_back(size);
  return sizes;
}

}  // namespace

PyTorch::PyTorch(const std::string& python, Heap heap)
    : heap_(heap),
      process_({python, BN_SOURCE_DIR "/tests/benchmarks/pytorch_peer.py"},
               EnvironmentFor(heap)) {}

std::string PyTorch::Version() {
  const json answer = json::parse(process_.ReadLine());
  return fmt::format("{} ({})", answer["version"].get<std::string>(),
                     answer["vectors"].get<std::string>());
}

Peer PyTorch::MakePeer(const Contest& contest) {
  return {heap_ == Heap::kReused ? kPyTorchReused : kPyTorch, contest.threads(),
          [this, contest](int calls) {
            return Sample(contest.problem, contest.threads(), calls);
          }};
}

double PyTorch::Sample(const Problem& problem, int threads, int calls) {
  const json question = {{"sizes", SizesAsJson(problem.shape)},
                         {"layout", NameOf(problem.layout)},
                         {"direction", NameOf(problem.direction)},
                         {"threads", threads},
                         {"calls", calls}};
  process_.WriteLine(question.dump());
  return json::parse(process_.ReadLine())["seconds"].get<double>();
}

}  // namespace batchnorm::benchmark
