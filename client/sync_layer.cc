#include "client/sync_layer.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/acquire_session.h"
#include "client/connection.h"
#include "client/local_kernel.h"
#include "client/messages.h"

namespace batchnorm::client {
namespace {

// What a step's Backward needs.
struct OpenStep {
  Shard shard;
  kernel::Statistics statistics;
};

absl::Status NotOpen(std::uint64_t step) {
  return Refusal(absl::StatusCode::kFailedPrecondition, "INPUT_EVICTED", "step",
                 absl::StrCat("expected a step that is open here, got ", step));
}

}  // namespace

struct SyncLayer::State {
  State(std::shared_ptr<Connection> connection_of, const SessionInfo& session,
        std::uint32_t own_rank)
      : connection(std::move(connection_of)),
        name(session.name),
        config(session.config),
        rank(own_rank),
        last_step(session.last_step) {}

  SyncArgs ArgsOf(std::uint64_t step) const {
    const std::lock_guard lock(mutex);
    return {.session = name,
            .step = step,
            .acknowledged_step = last_step,
            .rank = rank,
            .writer_token = writer_token};
  }

  absl::StatusOr<SyncResult> Sync(SyncArgs args) const {
    auto reply = connection->Sync(ToProto(std::move(args)));
    if (!reply.ok()) return reply.status();
    return FromProto(*std::move(reply));
  }

  std::uint64_t LastStep() const {
    const std::lock_guard lock(mutex);
    return last_step;
  }

  void ContinueAfter(std::uint64_t step) {
    const std::lock_guard lock(mutex);
    last_step = step;
  }

  void BecomeWriter(AcquireSessionResult writer) {
    const std::lock_guard lock(mutex);
    writer_token = std::move(writer.writer_token);
    last_step = writer.last_step;
  }

  void Open(std::uint64_t step, std::shared_ptr<const OpenStep> opened) {
    const std::lock_guard lock(mutex);
    open[step] = std::move(opened);
    if (step <= config.step_window) return;
    open.erase(open.begin(), open.upper_bound(step - config.step_window));
  }

  std::shared_ptr<const OpenStep> Held(std::uint64_t step) const {
    const std::lock_guard lock(mutex);
    const auto found = open.find(step);
    return found == open.end() ? nullptr : found->second;
  }

  void Close(std::uint64_t step) {
    const std::lock_guard lock(mutex);
    open.erase(step);
  }

  const std::shared_ptr<Connection> connection;
  const std::string name;
  const SessionConfig config;
  const std::uint32_t rank;

  // Held while a step is being taken, before `mutex`.
  std::mutex taking_step;
  mutable std::mutex mutex;
  // Guarded by mutex.
  std::uint64_t last_step;
  std::string writer_token;  // empty: never acquired
  std::map<std::uint64_t, std::shared_ptr<const OpenStep>> open;
};

SyncLayer::SyncLayer(std::shared_ptr<Connection> connection,
                     const SessionInfo& session, std::uint32_t rank)
    : state_(std::make_unique<State>(std::move(connection), session, rank)) {}
SyncLayer::SyncLayer(SyncLayer&&) noexcept = default;
SyncLayer& SyncLayer::operator=(SyncLayer&&) noexcept = default;
SyncLayer::~SyncLayer() = default;

absl::StatusOr<ForwardResult> SyncLayer::Forward(LayerInput input) {
  absl::StatusOr<Shard> shard =
      MakeShard(std::move(input.x), input.gamma, state_->config);
  if (!shard.ok()) return shard.status();
  const auto beta = ParameterOf(input.beta, "beta", state_->config.channels);
  if (!beta.ok()) return beta.status();

  const std::lock_guard lock(state_->taking_step);
  const std::uint64_t step = state_->LastStep() + 1;
  SyncArgs args = state_->ArgsOf(step);
  args.new_weight = input.new_weight;
  args.sums = SumForward(*shard);
  absl::StatusOr<SyncResult> synced = state_->Sync(std::move(args));
  if (!synced.ok()) return synced.status();
  state_->ContinueAfter(step);  // whatever comes of it here
  absl::StatusOr<kernel::Statistics> statistics =
      StatisticsOf(synced->statistics, state_->config.channels);
  if (!statistics.ok()) return statistics.status();
  const auto opened = std::make_shared<const OpenStep>(*std::move(shard),
                                                       *std::move(statistics));
  state_->Open(step, opened);
  return ForwardResult{
      .step = step,
      .replayed = synced->replayed,
      .statistics = std::move(synced->statistics),
      .y = Normalize(opened->shard, opened->statistics, *beta)};
}

absl::StatusOr<BackwardResult> SyncLayer::Backward(
    const LayerGradient& gradient) {
  const auto held = state_->Held(gradient.step);
  if (held == nullptr) return NotOpen(gradient.step);
  absl::StatusOr<BackwardSums> sums = SumBackward(held->shard, gradient.dy);
  if (!sums.ok()) return sums.status();
  SyncArgs args = state_->ArgsOf(gradient.step);
  args.pass = gradient.pass;
  args.sums = *std::move(sums);
  absl::StatusOr<SyncResult> synced = state_->Sync(std::move(args));
  if (!synced.ok()) return synced.status();
  absl::StatusOr<kernel::Gradients> gradients =
      GradientsOf(std::move(synced->gradients), state_->config.channels);
  if (!gradients.ok()) return gradients.status();
  if (!gradient.keep_open) state_->Close(gradient.step);
  return BackwardResult{.step = gradient.step,
                        .dx = Differentiate(held->shard, gradient.dy,
                                            held->statistics, *gradients),
                        .dgamma = std::move(gradients->dgamma),
                        .dbeta = std::move(gradients->dbeta)};
}

absl::Status SyncLayer::Acquire(std::uint64_t at_least_step) {
  const std::lock_guard taking_step(state_->taking_step);
  AcquireSessionArgs args{.name = state_->name, .rank = state_->rank};
  args.at_least_step = std::max(at_least_step, state_->LastStep());
  absl::StatusOr<AcquireSessionResult> writer =
      AcquireSession(*state_->connection, args);
  if (!writer.ok()) return writer.status();
  state_->BecomeWriter(*std::move(writer));
  return absl::OkStatus();
}

const std::string& SyncLayer::name() const { return state_->name; }

std::uint64_t SyncLayer::last_step() const { return state_->LastStep(); }

}  // namespace batchnorm::client
