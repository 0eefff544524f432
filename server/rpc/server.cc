#include "server/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/rpc/access_control.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call.h"
#include "server/rpc/call_census.h"
#include "server/rpc/health.h"
#include "server/rpc/listener.h"
#include "server/rpc/methods.h"
#include "server/rpc/queue_threads.h"
#include "server/rpc/thread_pool.h"
#include "server/rpc/ticker.h"
#include "server/session/registry.h"
#include "spdlog/spdlog.h"

namespace batchnorm::rpc {
namespace {

constexpr char kServiceName[] = "batchnorm.v1.BatchNormService";

// Calls of one method that gRPC can hand over without waiting for a repost.
constexpr int kPostedCalls = 32;

// How exactly a barrier's timeout is kept.
constexpr absl::Duration kBarrierTick = absl::Milliseconds(50);

// A reply's bytes that are not payload: names, shapes, tags, lengths.
constexpr std::int64_t kReplyFramingBytes = 4096;

// Session calls wait for the store, and what waits at once shares a commit.
constexpr int kSessionThreads = 8;

constexpr int kMaxConcurrentStreams = 1024;  // a connection
constexpr int kKeepaliveTimeMs = 9'000;      // a dead peer is noticed in 14 s
constexpr int kKeepaliveTimeoutMs = 5'000;
constexpr int kMinPingIntervalMs = 5'000;  // clients may ping as we do

// For peers to acknowledge the last replies. Who waits for a reply does so at
// once; an idle peer may take 5 seconds to look at its connection.
constexpr absl::Duration kGoodbye = absl::Seconds(2);

int Cores() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

// One queue serves 2 cores best; more only where there are many.
int CompletionQueues() { return std::clamp(Cores() / 4, 1, 4); }

absl::Status CheckAtLeast(const char* what, std::int64_t value,
                          std::int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": expected at least ", least, ", got ", value));
}

absl::Status CheckAtMost(const char* what, std::int64_t value,
                         std::int64_t most) {
  if (value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": expected at most ", most, ", got ", value));
}

absl::Status Check(const ServerOptions& options) {
  absl::Status status;
  if (options.listen.empty()) {
    status.Update(
        absl::InvalidArgumentError("expected an address to listen on"));
  }
  status.Update(CheckAtLeast("max message bytes", options.max_message_bytes,
                             kMinMessageBytes));
  status.Update(CheckAtMost("max message bytes", options.max_message_bytes,
                            kMaxMessageBytes));
  status.Update(CheckAtLeast("threads", options.threads, 0));
  status.Update(CheckAtMost("threads", options.threads, kMaxThreads));
  status.Update(CheckAtLeast("tensor threads", options.tensor_threads, 0));
  status.Update(
      CheckAtMost("tensor threads", options.tensor_threads, kMaxThreads));
  status.Update(CheckAtLeast("max sessions", options.max_sessions, 1));
  status.Update(CheckAtLeast("max tensor bytes", options.max_tensor_bytes, 1));
  status.Update(
      CheckAtLeast("max bytes in flight", options.max_bytes_in_flight, 1));
  status.Update(CheckAtLeast("kept input bytes", options.kept_input_bytes, 0));
  status.Update(CheckAtLeast("loaded bytes", options.loaded_bytes, 0));
  if (options.barrier_timeout <= absl::ZeroDuration()) {
    status.Update(
        absl::InvalidArgumentError("barrier timeout: expected more than 0"));
  }
  return status;
}

session::RegistryOptions RegistryOptionsOf(const ServerOptions& options,
                                           kernel::Workers& workers) {
  session::RegistryOptions registry;
  registry.workers = &workers;
  registry.store = options.store;
  registry.loaded_bytes = options.loaded_bytes;
  registry.max_sessions = options.max_sessions;
  registry.kept_input_bytes = options.kept_input_bytes;
  registry.idle_ttl = options.idle_ttl;
  registry.barrier_timeout = options.barrier_timeout;
  registry.tensor_limits.max_tensor_bytes = options.max_tensor_bytes;
  registry.tensor_limits.max_reply_bytes =
      options.max_message_bytes - kReplyFramingBytes;
  return registry;
}

// A session outlives its time by a quarter at most, and by a minute at most.
absl::Duration SweepPeriod(absl::Duration idle_ttl) {
  return std::clamp(idle_ttl / 4, absl::Milliseconds(10), absl::Minutes(1));
}

void ForgetIdle(session::Registry& registry) {
  const std::int64_t forgotten = registry.ExpireIdle();
  if (forgotten > 0) spdlog::info("forgot {} idle sessions", forgotten);
}

void LogStragglers(const std::string& session,
                   const session::Stragglers& late) {
  spdlog::warn("session {}: step {} has waited {:.1f} s for rank {}", session,
               late.key.step, absl::ToDoubleSeconds(late.waited),
               absl::StrJoin(late.ranks, ", "));
}

// Limits, liveness, and what keeps a hostile peer cheap.
void Harden(const ServerOptions& options, grpc::ServerBuilder& builder) {
  const int message_bytes = static_cast<int>(options.max_message_bytes);
  builder.SetMaxReceiveMessageSize(message_bytes);
  builder.SetMaxSendMessageSize(message_bytes);
  // A gzip bomb is unpacked whatever the message limit says.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  // Two servers on one port would share its calls at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinPingIntervalMs);
}

// Reflection is not called often: one thread is enough.
void LimitReflection(grpc::ServerBuilder& builder) {
  using Builder = grpc::ServerBuilder;
  builder.SetSyncServerOption(Builder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(Builder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(Builder::SyncServerOption::MAX_POLLERS, 1);
}

// Reflection on or off for one server. Its library adds itself to every server
// of the process, so what it added is taken out first.
class Reflection : public grpc::ServerBuilderOption {
 public:
  explicit Reflection(bool on) : on_(on) {}

  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}

  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    using Plugin = grpc::reflection::ProtoServerReflectionPlugin;
    auto plugin = std::make_unique<Plugin>();
    std::erase_if(*plugins, [&plugin](const auto& other) {
      return other->name() == plugin->name();
    });
    if (on_) plugins->push_back(std::move(plugin));
  }

 private:
  bool on_;
};

void React(grpc::ServerCompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) Event::React(tag, ok);
}

}  // namespace

// Members are in the order of construction: what is used by others first.
struct Server::State {
  State(ServerOptions server_options,
        std::unique_ptr<AccessControl> access_control)
      : options(std::move(server_options)),
        access(std::move(access_control)),
        workers(options.tensor_threads > 0 ? options.tensor_threads : Cores()),
        registry(MakeRegistryOptions()),
        budget(options.max_bytes_in_flight),
        bound(MakeServiceMethods(
            registry, RegistryOptionsOf(options, workers).tensor_limits,
            workers)) {}

  session::RegistryOptions MakeRegistryOptions() {
    session::RegistryOptions made = RegistryOptionsOf(options, workers);
    made.on_stragglers = LogStragglers;
    made.answer = [this](std::function<void()> task) {
      queue_threads.Run(std::move(task));
    };
    made.run = [this](std::function<void()> task) {
      compute_pool->Run(std::move(task));
    };
    return made;
  }
  absl::Status Build();
  void Serve();
  void Stop();

  const ServerOptions options;
  const std::unique_ptr<const AccessControl> access;
  kernel::Workers workers;
  session::Registry registry;
  ByteBudget budget;
  CallCensus census;
  ServiceMethods bound;
  Health health{kServiceName};
  Listeners listeners;
  std::vector<std::string> addresses;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<ThreadPool> compute_pool;
  std::unique_ptr<ThreadPool> session_pool;
  std::vector<CallFloor> floors;  // one a queue
  QueueThreads queue_threads;
  std::vector<std::thread> threads;
  std::unique_ptr<Ticker> sweeper;
  std::unique_ptr<Ticker> barrier_guard;
};

absl::Status Server::State::Build() {
  grpc::ServerBuilder builder;
  builder.SetOption(std::make_unique<Reflection>(options.reflection));
  Harden(options, builder);
  LimitReflection(builder);
  for (const std::string& address : options.listen) {
    absl::Status added =
        listeners.Add(address, access->CredentialsFor(address), builder);
    if (!added.ok()) return added;
  }
  builder.RegisterService(bound.service.get());
  builder.RegisterService(&health.service());
  for (int i = 0; i < CompletionQueues(); ++i) {
    queues.push_back(builder.AddCompletionQueue());
    queue_threads.Add(*queues.back());
  }
  server = builder.BuildAndStart();
  addresses = listeners.addresses();
  absl::Status bound_all = listeners.CheckBound();
  if (bound_all.ok() && server == nullptr) {
    return absl::InternalError("gRPC could not start the server");
  }
  return bound_all;
}

void Server::State::Serve() {
  compute_pool = std::make_unique<ThreadPool>(
      options.threads > 0 ? options.threads : Cores());
  session_pool = std::make_unique<ThreadPool>(kSessionThreads);
  floors.reserve(queues.size());  // calls hold references
  for (const auto& queue : queues) {
    floors.push_back({*queue, *access, *compute_pool, *session_pool, budget,
                      census, options.on_turn, options.on_answered});
    for (const Method& method : bound.methods) {
      for (int i = 0; i < kPostedCalls; ++i) Call::Post(method, floors.back());
    }
    for (int i = 0; i < kPostedCalls; ++i) {
      JoinCall::Post(bound.join, floors.back());
    }
    health.Post(floors.back());
    threads.emplace_back([&queue] { React(*queue); });
  }
  sweeper = std::make_unique<Ticker>(SweepPeriod(options.idle_ttl),
                                     [this] { ForgetIdle(registry); });
  barrier_guard = std::make_unique<Ticker>(
      kBarrierTick, [this] { registry.AbortOverdueBarriers(); });
  health.SetServing(true);
}

// Calls are answered before gRPC shuts down: it closes a connection the moment
// its last call ends, and what the peer sends just then (acknowledging the
// reply, for one) makes TCP drop the rest of the reply. A connection without
// calls it closes only when the peer has acknowledged all. Queues close last:
// every call must have been able to answer on its own.
void Server::State::Stop() {
  const absl::Time deadline = absl::Now() + options.finish_timeout;
  sweeper.reset();
  census.RefuseFromNowOn();
  registry.EndBarriers();
  census.WaitUntilAnswered(deadline);
  health.EndWatches();
  server->Shutdown(
      absl::ToChronoTime(std::min(deadline, absl::Now() + kGoodbye)));
  census.WaitUntilEmpty();
  barrier_guard.reset();
  compute_pool->Stop();
  session_pool->Stop();
  for (const auto& queue : queues) queue->Shutdown();
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  server.reset();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  if (absl::Status valid = Check(options); !valid.ok()) return valid;
  auto access = AccessControl::Start(options.access, options.listen);
  if (!access.ok()) return access.status();
  auto state = std::make_unique<State>(std::move(options), *std::move(access));
  if (absl::Status built = state->Build(); !built.ok()) return built;
  state->Serve();
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Server::~Server() { Drain(absl::ZeroDuration()); }

const std::vector<std::string>& Server::addresses() const {
  return state_->addresses;
}

ServerCounters Server::counters() const {
  return {.calls = state_->census.answered(),
          .given_up = state_->census.given_up(),
          .bytes_in_flight = state_->budget.taken(),
          .queued_tensor_calls = state_->compute_pool->waiting(),
          .queued_session_calls = state_->session_pool->waiting(),
          .sessions = state_->registry.session_count(),
          .loaded_sessions = state_->registry.loaded_count(),
          .kept_input_bytes = state_->registry.kept_input_bytes(),
          .evicted_inputs = state_->registry.evicted_input_count(),
          .reloads = state_->access->reloads(),
          .kernel_time = absl::FromChrono(state_->workers.worked())};
}

void Server::Drain(absl::Duration grace) {
  if (state_->server == nullptr) return;
  state_->health.SetServing(false);
  absl::SleepFor(grace);
  state_->Stop();
}

}  // namespace batchnorm::rpc
