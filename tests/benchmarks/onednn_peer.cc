#include "tests/benchmarks/onednn_peer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "tests/benchmarks/onednn_layer.h"

namespace batchnorm::benchmark {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

constexpr auto kF32 = memory::data_type::f32;

memory::dims DimsOf(const Shape& shape) {
  memory::dims dims = {shape.batch, shape.channels};
  dims.insert(dims.end(), shape.spatial.begin(), shape.spatial.end());
  return dims;
}

// Row `rank` of a table that begins with two axes.
using TagsOfRanks = std::vector<Tag>;
Tag TagOf(const TagsOfRanks& tags, const memory::dims& dims) {
  return tags.at(dims.size() - 2);
}

const TagsOfRanks kNchwTags = {Tag::nc, Tag::ncw, Tag::nchw, Tag::ncdhw};
const TagsOfRanks kNhwcTags = {Tag::nc, Tag::nwc, Tag::nhwc, Tag::ndhwc};

std::vector<memory::desc> OtherLayouts(const Problem& problem) {
  memory::dims dims = DimsOf(problem.shape);
  if (problem.layout == Layout::kNc) dims.insert(dims.end(), {1, 1});
  const std::vector<TagsOfRanks> tables = {
      problem.layout == Layout::kNhwc ? kNchwTags : kNhwcTags,
      {Tag::undef, Tag::nCw8c, Tag::nChw8c, Tag::nCdhw8c},
      {Tag::undef, Tag::nCw16c, Tag::nChw16c, Tag::nCdhw16c},
      {Tag::any, Tag::any, Tag::any, Tag::any}};
  std::vector<memory::desc> found;
  found.reserve(tables.size());
  for (const TagsOfRanks& tags : tables) {
    found.emplace_back(dims, kF32, TagOf(tags, dims));
  }
  return found;
}

Peer MakePeer(const Contest& contest, const char* name,
              std::shared_ptr<OneDnnLayer> layer) {
  return {name, contest.threads(), [layer = std::move(layer)](int calls) {
            return layer->Sample(calls);
          }};
}

// Null if oneDNN has nothing for that layout.
std::shared_ptr<OneDnnLayer> TryLayer(const Contest& contest,
                                      const memory::desc& data) {
  try {
    return std::make_shared<OneDnnLayer>(contest, data);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

double BestOfThree(OneDnnLayer& layer) {
  return std::min({layer.Sample(1), layer.Sample(1), layer.Sample(1)});
}

}  // namespace

Peer OneDnnPeer(const Contest& contest) {
  const memory::dims dims = DimsOf(contest.problem.shape);
  const TagsOfRanks& tags =
      contest.problem.layout == Layout::kNhwc ? kNhwcTags : kNchwTags;
  const memory::desc data(dims, kF32, TagOf(tags, dims));
  return MakePeer(contest, kOneDnn,
                  std::make_shared<OneDnnLayer>(contest, data));
}

Peer OneDnnBestPeer(const Contest& contest) {
  std::shared_ptr<OneDnnLayer> best;
  double best_seconds = std::numeric_limits<double>::infinity();
  for (const memory::desc& data : OtherLayouts(contest.problem)) {
    const std::shared_ptr<OneDnnLayer> layer = TryLayer(contest, data);
    if (!layer) continue;
    const double seconds = BestOfThree(*layer);
    if (seconds >= best_seconds) continue;
    best_seconds = seconds;
    best = layer;
  }
  return MakePeer(contest, kOneDnnBest, std::move(best));
}

std::string OneDnnVersion() {
  const dnnl_version_t* const version = dnnl::version();
  return fmt::format("{}.{}.{}", version->major, version->minor,
                     version->patch);
}

}  // namespace batchnorm::benchmark
