// Three ranks of one batch-norm layer, each on a thread with a shard of its
// own. Tensors stay where they are: only sums travel.
//
//     example_sync [localhost:50051]
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"

namespace {

using batchnorm::MakeTensor;
using batchnorm::ToDoubles;
using batchnorm::client::Client;
using batchnorm::client::SessionConfig;

constexpr std::uint32_t kRanks = 3;
constexpr char kName[] = "examples/sync";

// 1 value for rank 0, 2 for rank 1, 3 for rank 2: together 0, 1, ..., 5.
std::vector<double> ShardOf(std::uint32_t rank) {
  std::vector<double> shard(rank + 1);
  double value = rank * (rank + 1) / 2.0;
  for (double& each : shard) each = value++;
  return shard;
}

absl::Status Run(const Client& client, std::uint32_t rank,
                 std::vector<double>& y) {
  const SessionConfig config = {.channels = 1, .world_size = kRanks};
  const std::vector<double> shard = ShardOf(rank);
  const auto rows = static_cast<std::int64_t>(shard.size());
  const std::string name = kName;
  const auto dy = MakeTensor(shard, {rows, 1});
  // So that the others are told at once if this rank dies.
  const auto presence =
      client.Join({.session = name, .rank = rank, .job = "example"});
  // [sync]
  auto layer = client.OpenSyncLayer(name, config, rank);
  if (!layer.ok()) return layer.status();
  auto forward = layer->Forward({.x = MakeTensor(shard, {rows, 1})});
  if (!forward.ok()) return forward.status();
  auto gradients = layer->Backward({.step = forward->step, .dy = dy});
  if (!gradients.ok()) return gradients.status();
  // [END sync]
  y = ToDoubles(forward->y);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const Client client({.target = argc > 1 ? argv[1] : "localhost:50051"});
  std::vector<absl::Status> outcomes(kRanks);
  std::vector<std::vector<double>> y(kRanks);
  std::vector<std::thread> ranks;
  ranks.reserve(kRanks);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back(
        [&, rank] { outcomes[rank] = Run(client, rank, y[rank]); });
  }
  for (std::thread& rank : ranks) rank.join();
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    std::cout << "rank " << rank << ":";
    for (const double value : y[rank]) std::cout << ' ' << value;
    std::cout << '\n';
    if (!outcomes[rank].ok()) std::cerr << outcomes[rank] << '\n';
  }
  const absl::Status deleted = client.DeleteSession(kName);
  for (const absl::Status& outcome : outcomes) {
    if (!outcome.ok()) return 1;
  }
  return deleted.ok() ? 0 : 1;
}
