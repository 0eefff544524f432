#include "server/program.h"

#include <pthread.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/allocator.h"
#include "server/lock_checks.h"
#include "server/logging.h"
#include "server/observation.h"
#include "server/options.h"
#include "server/rpc/access_control.h"
#include "server/rpc/server.h"
#include "server/session_place.h"
#include "spdlog/spdlog.h"

namespace batchnorm {
namespace {

constexpr int kCannotServe = 1;
constexpr int kUsage = 2;

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// From here on no thread is interrupted; WaitForSignal takes the signals.
void HoldSignals() {
  const sigset_t signals = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a reader of the log may go away
}

// After the first signal the next one ends the process, as by default.
int WaitForSignal() {
  const sigset_t signals = EndingSignals();
  int signal = 0;
  sigwait(&signals, &signal);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  return signal;
}

// Whoever waits for the file never sees half of it.
bool WriteLines(const std::string& path,
                const std::vector<std::string>& lines) {
  const std::string unfinished = path + ".new";
  std::ofstream file(unfinished);
  for (const std::string& line : lines) file << line << '\n';
  file.close();
  return file.good() && std::rename(unfinished.c_str(), path.c_str()) == 0;
}

int Refuse(const absl::Status& status) {
  const bool usage = status.code() == absl::StatusCode::kInvalidArgument;
  spdlog::error("{}{}", std::string(status.message()),
                usage ? "; batchnormd --help lists the flags" : "");
  return usage ? kUsage : kCannotServe;
}

// SIGINT is a person at a terminal: no load balancer needs time. Nor does a
// server that cannot store anything.
void DrainAfterSignal(const Options& options, const SessionPlace& place,
                      rpc::Server& server) {
  const int signal = WaitForSignal();
  const absl::Duration grace = signal == SIGTERM && !place.is_broken()
                                   ? options.drain
                                   : absl::ZeroDuration();
  spdlog::info("{}: draining, {} of grace",
               signal == SIGTERM ? "SIGTERM" : "SIGINT",
               absl::FormatDuration(grace));
  server.Drain(grace);
  spdlog::info("stopped after {} calls", server.counters().calls);
}

void WarnOfUnsafeSettings(const Options& options) {
  for (const std::string& unsafe :
       rpc::UnsafeSettings(options.server.access, options.server.listen)) {
    spdlog::warn("unsafe: {}", unsafe);
  }
  if (!options.storage.in_memory &&
      options.storage.durability == storage::Durability::kOff) {
    spdlog::warn(
        "unsafe: --durability off: a power failure may damage every session");
  }
}

int Run(Options options, const Hooks& hooks) {
  WarnOfUnsafeSettings(options);
  auto place = SessionPlace::Open(options.storage, hooks.wrap_store);
  if (!place.ok()) return Refuse(place.status());
  options.server.store = (*place)->store();
  options.server.on_turn = hooks.on_turn;
  auto observation = Observation::Start(options.metrics_listen);
  if (!observation.ok()) return Refuse(observation.status());
  options.server.on_answered = (*observation)->observer();
  absl::StatusOr<std::unique_ptr<rpc::Server>> server =
      rpc::Server::Start(options.server);
  if (!server.ok()) return Refuse(server.status());
  spdlog::info("batchnormd " BN_VERSION " serves on {}",
               absl::StrJoin((*server)->addresses(), ", "));
  spdlog::info("{}", (*place)->promise());
  if (!options.metrics_listen.empty()) {
    spdlog::info("metrics on http://{}/metrics",
                 (*observation)->metrics_address());
  }
  const Observation::Watch watch(**observation, **server);
  if (!options.port_file.empty() &&
      !WriteLines(options.port_file, (*server)->addresses())) {
    return Refuse(absl::InvalidArgumentError(
        absl::StrCat("cannot write the port file ", options.port_file)));
  }
  DrainAfterSignal(options, **place, **server);
  return (*place)->is_broken() ? kCannotServe : EXIT_SUCCESS;
}

}  // namespace

int RunProgram(int argc, char** argv, const Hooks& hooks) {
  Options options;
  const std::optional<int> ended = ParseOptions(argc, argv, options);
  if (ended) return *ended;
  // What gRPC says about itself concerns its developers; its users get errors.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  ConfigureLog(options.log_format, options.log_level);
  ConfigureAllocator();
  SkipLockChecks();
  HoldSignals();
  return Run(std::move(options), hooks);
}

}  // namespace batchnorm
