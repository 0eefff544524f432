#include "client/layer.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/acquire_session.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/messages.h"

namespace batchnorm::client {
namespace {

// What a step's Backward needs and the server may have dropped.
struct HeldInput {
  v1::Tensor x;
  std::optional<v1::Tensor> gamma;
};

HeldInput TakeInput(v1::ForwardRequest&& request) {
  HeldInput held;
  held.x = std::move(*request.mutable_x());
  if (request.has_gamma()) held.gamma = std::move(*request.mutable_gamma());
  return held;
}

void Attach(const HeldInput& held, v1::BackwardRequest& request) {
  *request.mutable_x() = held.x;
  if (held.gamma.has_value()) *request.mutable_gamma() = *held.gamma;
}

ForwardArgs ArgsOf(const std::string& session, std::uint32_t rank, Mode mode,
                   LayerInput&& input) {
  return {.session = session,
          .mode = mode,
          .rank = rank,
          .new_weight = input.new_weight,
          .x = std::move(input.x),
          .gamma = std::move(input.gamma),
          .beta = std::move(input.beta)};
}

absl::StatusOr<ForwardResult> ResultOf(absl::StatusOr<ForwardReply>&& reply) {
  if (!reply.ok()) return reply.status();
  return FromProto(*std::move(reply));
}

}  // namespace

struct Layer::State {
  State(std::shared_ptr<Connection> connection_of, const SessionInfo& session,
        std::uint32_t own_rank)
      : connection(std::move(connection_of)),
        name(session.name),
        rank(own_rank),
        step_window(session.config.step_window),
        server_keeps_input(session.config.kept_input_policy ==
                           KeptInputPolicy::kKeep),
        last_step(session.last_step) {}

  const std::shared_ptr<Connection> connection;
  const std::string name;
  const std::uint32_t rank;
  const std::uint64_t step_window;
  const bool server_keeps_input;

  // Held while a step is being taken or chosen, before `mutex`.
  std::mutex taking_step;

  // Guards what follows; never held during a call.
  mutable std::mutex mutex;
  std::uint64_t last_step;
  std::map<std::uint64_t, std::shared_ptr<const HeldInput>> open;
  std::string writer_token;  // empty: never acquired

  std::uint64_t LastStep() const {
    const std::lock_guard lock(mutex);
    return last_step;
  }

  std::string WriterToken() const {
    const std::lock_guard lock(mutex);
    return writer_token;
  }

  void SetWriterToken(std::string token) {
    const std::lock_guard lock(mutex);
    writer_token = std::move(token);
  }

  // DATA_LOSS where the session is behind what has been seen of it.
  absl::Status ContinueAfter(std::uint64_t step) {
    const std::lock_guard lock(mutex);
    if (step < last_step) {
      return absl::DataLossError(absl::StrCat("session ", name, " is at step ",
                                              step, ", but step ", last_step,
                                              " was acknowledged"));
    }
    last_step = step;
    return absl::OkStatus();
  }

  void RestartAfter(std::uint64_t step) {
    const std::lock_guard lock(mutex);
    last_step = step;
    open.clear();
  }

  void Open(std::uint64_t step, HeldInput input) {
    auto held = std::make_shared<const HeldInput>(std::move(input));
    const std::lock_guard lock(mutex);
    last_step = step;
    open[step] = std::move(held);
    if (step <= step_window) return;
    open.erase(open.begin(), open.upper_bound(step - step_window));
  }

  std::shared_ptr<const HeldInput> Held(std::uint64_t step) const {
    const std::lock_guard lock(mutex);
    const auto found = open.find(step);
    return found == open.end() ? nullptr : found->second;
  }

  void Close(std::uint64_t step) {
    const std::lock_guard lock(mutex);
    open.erase(step);
  }
};

Layer::Layer(std::shared_ptr<Connection> connection, const SessionInfo& session,
             std::uint32_t rank)
    : state_(std::make_unique<State>(std::move(connection), session, rank)) {}
Layer::Layer(Layer&&) noexcept = default;
Layer& Layer::operator=(Layer&&) noexcept = default;
Layer::~Layer() = default;

absl::StatusOr<ForwardResult> Layer::Forward(LayerInput input) {
  const std::lock_guard lock(state_->taking_step);
  const std::uint64_t last_step = state_->LastStep();
  ForwardArgs args =
      ArgsOf(state_->name, state_->rank, Mode::kTrain, std::move(input));
  args.step = last_step + 1;
  args.acknowledged_step = last_step;
  args.writer_token = state_->WriterToken();
  v1::ForwardRequest request = ToProto(std::move(args));
  auto reply = state_->connection->Forward(request);
  if (reply.ok()) state_->Open(last_step + 1, TakeInput(std::move(request)));
  return ResultOf(std::move(reply));
}

absl::StatusOr<BackwardResult> Layer::Backward(LayerGradient gradient) {
  v1::BackwardRequest request =
      ToProto(BackwardArgs{.session = state_->name,
                           .step = gradient.step,
                           .acknowledged_step = state_->LastStep(),
                           .rank = state_->rank,
                           .pass = gradient.pass,
                           .dy = std::move(gradient.dy),
                           .writer_token = state_->WriterToken()});
  const auto held = state_->Held(gradient.step);
  if (held && !state_->server_keeps_input) Attach(*held, request);
  auto response = state_->connection->Backward(request);
  if (held && Reason(response.status()) == "INPUT_EVICTED") {
    Attach(*held, request);
    response = state_->connection->Backward(request);
  }
  if (!response.ok()) return response.status();
  if (!gradient.keep_open) state_->Close(gradient.step);
  return FromProto(*std::move(response));
}

absl::StatusOr<ForwardResult> Layer::Infer(LayerInput input) const {
  ForwardArgs args =
      ArgsOf(state_->name, state_->rank, Mode::kInference, std::move(input));
  args.writer_token = state_->WriterToken();
  const v1::ForwardRequest request = ToProto(std::move(args));
  return ResultOf(state_->connection->Forward(request));
}

absl::StatusOr<SessionInfo> Layer::GetSession() const {
  v1::GetSessionRequest request;
  request.set_name(state_->name);
  auto response = state_->connection->GetSession(request);
  if (!response.ok()) return response.status();
  return FromProto(response->session());
}

absl::Status Layer::Acquire(std::uint64_t at_least_step) {
  const std::lock_guard taking_step(state_->taking_step);
  AcquireSessionArgs args{.name = state_->name, .rank = state_->rank};
  args.at_least_step = std::max(at_least_step, state_->LastStep());
  absl::StatusOr<AcquireSessionResult> writer =
      AcquireSession(*state_->connection, args);
  if (!writer.ok()) return writer.status();
  state_->SetWriterToken(std::move(writer->writer_token));
  return state_->ContinueAfter(writer->last_step);
}

absl::Status Layer::Restore(const SessionSnapshot& snapshot) {
  const std::lock_guard taking_step(state_->taking_step);
  const auto response = state_->connection->ImportSession(
      ToProto(ImportSessionArgs{.name = state_->name,
                                .snapshot = snapshot,
                                .replace = true,
                                .writer_token = state_->WriterToken()}));
  if (!response.ok()) return response.status();
  state_->RestartAfter(snapshot.last_step);
  return absl::OkStatus();
}

absl::Status Layer::Resume() {
  const std::lock_guard taking_step(state_->taking_step);
  const absl::StatusOr<SessionInfo> session = GetSession();
  if (!session.ok()) return session.status();
  return state_->ContinueAfter(session->last_step);
}

const std::string& Layer::name() const { return state_->name; }

std::uint64_t Layer::last_step() const { return state_->LastStep(); }

std::size_t Layer::open_steps() const {
  const std::lock_guard lock(state_->mutex);
  return state_->open.size();
}

}  // namespace batchnorm::client
