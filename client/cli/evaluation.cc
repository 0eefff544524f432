#include "client/cli/evaluation.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "client/cli/results.h"

namespace batchnorm::cli {
namespace {

using client::Output;

Output OutputFor(Role role) {
  switch (role) {
    case Role::kMean:
    case Role::kVar:
    case Role::kInvStd:
      return Output::kStatistics;
    case Role::kRunningMean:
    case Role::kRunningVar:
      return Output::kRunningStatistics;
    case Role::kDx:
      return Output::kDx;
    case Role::kDgamma:
      return Output::kDgamma;
    case Role::kDbeta:
      return Output::kDbeta;
    default:
      return Output::kY;
  }
}

// Moves a result that has x's shape into `tensors`, if it is there.
void Append(Role role, std::optional<Tensor>& tensor,
            std::vector<NamedTensor>& tensors) {
  if (!tensor) return;
  tensors.push_back({std::string(NameOf(role)), *std::move(tensor)});
}

// The per-channel results that are there.
std::map<Role, const std::vector<double>*> Vectors(
    const client::EvaluateResult& result) {
  std::map<Role, const std::vector<double>*> vectors;
  if (const auto& batch = result.statistics) {
    vectors[Role::kMean] = &batch->mean;
    vectors[Role::kVar] = &batch->var;
    vectors[Role::kInvStd] = &batch->inv_std;
  }
  if (const auto& running = result.running_statistics) {
    vectors[Role::kRunningMean] = &running->mean;
    vectors[Role::kRunningVar] = &running->var;
  }
  if (result.dgamma) vectors[Role::kDgamma] = &*result.dgamma;
  if (result.dbeta) vectors[Role::kDbeta] = &*result.dbeta;
  return vectors;
}

}  // namespace

std::set<Role> AllowedResults(const client::EvaluateArgs& args) {
  std::set<Role> roles = {Role::kY, Role::kMean, Role::kVar, Role::kInvStd};
  if (args.dy) roles.insert({Role::kDx, Role::kDgamma, Role::kDbeta});
  if (args.running_statistics && args.mode == client::Mode::kTrain) {
    roles.insert({Role::kRunningMean, Role::kRunningVar});
  }
  return roles;
}

std::vector<Output> OutputsFor(const std::set<Role>& results) {
  std::vector<Output> outputs;
  for (const Role role : results) {
    const Output output = OutputFor(role);
    if (std::ranges::find(outputs, output) == outputs.end()) {
      outputs.push_back(output);
    }
  }
  return outputs;
}

absl::StatusOr<client::EvaluateArgs> ArgsOf(TensorsByRole tensors,
                                            std::int64_t batch_count) {
  client::EvaluateArgs args;
  auto x = TakeX(tensors);
  if (!x.ok()) return x.status();
  auto running = TakeRunningStatistics(tensors, batch_count);
  if (!running.ok()) return running.status();
  args.x = *std::move(x);
  args.running_statistics = *std::move(running);
  args.gamma = Take(tensors, Role::kGamma);
  args.beta = Take(tensors, Role::kBeta);
  args.dy = Take(tensors, Role::kDy);
  return args;
}

std::vector<NamedTensor> TensorsOf(client::EvaluateResult result,
                                   const std::set<Role>& wanted) {
  const auto vectors = Vectors(result);
  std::vector<NamedTensor> tensors;
  for (const Role role : wanted) {
    const auto vector = vectors.find(role);
    if (vector != vectors.end()) {
      tensors.push_back(PerChannel(role, *vector->second));
    }
    if (role == Role::kY) Append(role, result.y, tensors);
    if (role == Role::kDx) Append(role, result.dx, tensors);
  }
  return tensors;
}

}  // namespace batchnorm::cli
