#include "tests/benchmarks/plain_peer.h"

#include <memory>

#include "tests/benchmarks/plain_planes.h"
#include "tests/benchmarks/plain_rows.h"

namespace batchnorm::benchmark {
namespace {

PlainBatch MakeBatch(const Contest& contest) {
  const Shape& shape = contest.problem.shape;
  return {shape.batch,
          shape.channels,
          shape.pixels(),
          true,
          contest.buffers.f32.x.As<float>(),
          contest.buffers.f32.x.As<float>(),
          contest.buffers.out.As<float>()};
}

PlainLayer MakeLayer(const Contest& contest) {
  PlainLayer layer(contest.problem.shape.channels);
  layer.eps = kEps;
  layer.gamma = contest.parameters.wide_gamma;
  layer.beta = contest.parameters.wide_beta;
  return layer;
}

}  // namespace

Peer PlainPeer(const Contest& contest) {
  const auto loops =
      contest.problem.layout == Layout::kNchw ? PlainPlanes : PlainRows;
  PlainBatch batch = MakeBatch(contest);
  const auto layer = std::make_shared<PlainLayer>(MakeLayer(contest));
  if (!contest.is_forward()) {
    loops(batch, *layer, contest.workers);  // for the statistics
    batch.is_forward = false;
    batch.dy = contest.buffers.f32.dy.As<float>();
  }
  return {kPlain, contest.threads(), Timed([batch, layer, loops, contest] {
            loops(batch, *layer, contest.workers);
          })};
}

}  // namespace batchnorm::benchmark
