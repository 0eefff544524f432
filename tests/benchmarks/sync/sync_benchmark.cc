// What a step costs a group of ranks that send only their sums. See
// ../README.md.
#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/benchmarks/machine.h"
#include "tests/benchmarks/pairing.h"
#include "tests/benchmarks/store/bare_sqlite.h"
#include "tests/benchmarks/sync/child.h"
#include "tests/benchmarks/sync/crowd.h"
#include "tests/benchmarks/sync/echo_server.h"
#include "tests/benchmarks/sync/sync_contest.h"
#include "tests/benchmarks/sync/volley.h"
#include "tests/benchmarks/target.h"

namespace batchnorm::benchmark {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

struct Options {
  bool is_quick = false;
  bool is_json = false;
  std::string folder;  // of the binaries; the stores are made below it
  std::string python;  // with PyTorch; empty: without gloo
  std::string only;    // "64x2048": this group and no others; or kCrowd
};

constexpr char kCrowd[] = "crowd";  // the 1,000 groups

std::string NameOf(GroupSize size) {
  return fmt::format("{}x{}", size.ranks, size.channels);
}

std::vector<GroupSize> Sizes() {
  std::vector<GroupSize> sizes;
  for (const std::size_t ranks : {2, 8, 64, 256}) {
    for (const std::int64_t channels : {64, 2048}) {
      sizes.push_back({ranks, channels});
    }
  }
  return sizes;
}

// What --only takes.
std::vector<std::string> Parts() {
  std::vector<std::string> parts = {kCrowd};
  for (const GroupSize& size : Sizes()) parts.push_back(NameOf(size));
  return parts;
}

// batchnormd in a process of its own.
class Server {
 public:
  Server(const std::string& folder, const std::vector<std::string>& flags)
      : port_file_(folder + "/sync-port") {
    fs::remove(port_file_);
    std::vector<std::string> words = {folder + "/batchnormd", "--listen",
                                      "localhost:0", "--port-file", port_file_};
    words.insert(words.end(), flags.begin(), flags.end());
    child_ = std::make_unique<Child>(words);
    for (int i = 0; i < 3000 && address_.empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      std::ifstream file(port_file_);
      std::string line;
      if (std::getline(file, line) && !file.eof()) address_ = line;
    }
    if (address_.empty()) throw std::runtime_error("batchnormd does not start");
  }

  const std::string& address() const { return address_; }

 private:
  std::string port_file_;
  std::unique_ptr<Child> child_;
  std::string address_;
};

// What a step may take: so many echoes, and with the durable store a commit for
// each phase.
constexpr double kMostEchoes = 1.5;
constexpr int kPhases = 2;

struct Outcome {
  GroupSize size;
  double memory_over_echo = 0;
  double durable_over_echo = 0;
  double commits_a_step = 0;        // what the durable store adds, in commits
  double commits_beyond_bound = 0;  // a durable step less the bound of echoes
  std::optional<double> gloo_over_echo{};
  std::size_t row_bytes = 0;
};

// What a phase of a group's step writes: the row's body, and one part.
std::size_t RowBytes(const std::string& store, const std::string& session) {
  sqlite3* file = nullptr;
  sqlite3_stmt* query = nullptr;
  std::size_t bytes = 0;
  const std::string path = store + "/data/sessions.db";
  if (sqlite3_open_v2(path.c_str(), &file, SQLITE_OPEN_READONLY, nullptr) ==
          SQLITE_OK &&
      sqlite3_prepare_v2(file,
                         "SELECT length(header) + length(body) + (SELECT "
                         "max(length(bytes)) FROM parts WHERE parts.key = "
                         "rows.key) FROM rows WHERE key = CAST(? AS BLOB)",
                         -1, &query, nullptr) == SQLITE_OK) {
    sqlite3_bind_text(query, 1, session.c_str(), -1, SQLITE_TRANSIENT);
    if (sqlite3_step(query) == SQLITE_ROW) {
      bytes = static_cast<std::size_t>(sqlite3_column_int64(query, 0));
    }
  }
  sqlite3_finalize(query);
  sqlite3_close(file);
  if (bytes == 0) throw std::runtime_error("the group's row is not there");
  return bytes;
}

// SQLite alone, one row of that size a commit, with pauses as between a group's
// commits.
double SecondsOfCommit(const std::string& folder, std::size_t row_bytes,
                       std::chrono::duration<double> pause) {
  constexpr int kCommits = 20;
  std::vector<Batch> batches;
  const std::string path = folder + "/commits.db";
  for (int i = 0; i < kCommits + 1; ++i) {
    storage::Write write;
    write.key = "group";
    write.expected = {1, static_cast<std::uint64_t>(i)};
    write.body = std::string(row_bytes, static_cast<char>('a' + i % 20));
    batches.push_back({std::move(write)});
  }
  const std::vector<Batch> made(batches.begin(), batches.begin() + 1);
  batches.erase(batches.begin());
  const double seconds =
      SecondsOfBareSqlite(path, made, batches, pause) / kCommits;
  fs::remove(path);
  return seconds;
}

std::unique_ptr<Child> StartGloo(const Options& options, GroupSize size,
                                 std::size_t doubles) {
  if (options.python.empty() || size.ranks > 8) return nullptr;
  auto gloo = std::make_unique<Child>(std::vector<std::string>{
      options.python, BN_SOURCE_DIR "/tests/benchmarks/sync/gloo_peer.py",
      std::to_string(size.ranks), std::to_string(doubles)});
  if (gloo->ReadLine() != "ready") throw std::runtime_error("gloo failed");
  return gloo;
}

Outcome Compete(const Options& options, GroupSize size, Server& memory,
                Server& durable, const std::string& echo_address,
                const std::string& store) {
  GroupSteps in_memory(memory.address(), size);
  GroupSteps on_disk(durable.address(), size);
  Volley echo(echo_address, size.ranks);
  const std::unique_ptr<Child> gloo =
      StartGloo(options, size, in_memory.messages().doubles());
  const int samples = size.ranks >= 64 ? 5 : 20;
  const auto average = [samples](const std::function<double()>& step) {
    step();
    double seconds = 0;
    for (int i = 0; i < samples; ++i) seconds += step();
    return seconds / samples;
  };
  std::vector<double> over_echo;
  std::vector<double> durable_over_echo;
  std::vector<double> gloo_over_echo;
  std::vector<double> commits;
  std::vector<double> beyond_bound;
  Outcome outcome{.size = size};
  for (int i = 0; i < 10; ++i) on_disk.Step();  // a full window
  outcome.row_bytes = RowBytes(store, on_disk.session());
  const int rounds = options.is_quick ? 5 : 9;
  for (int round = 0; round < rounds; ++round) {
    const double floor = average([&] { return in_memory.Echo(echo); });
    const double ours = average([&] { return in_memory.Step(); });
    const double stored = average([&] { return on_disk.Step(); });
    const double commit =
        SecondsOfCommit(store, outcome.row_bytes,
                        std::chrono::duration<double>(ours / kPhases));
    over_echo.push_back(ours / floor);
    durable_over_echo.push_back(stored / floor);
    commits.push_back((stored - ours) / commit);
    beyond_bound.push_back((stored - kMostEchoes * floor) / commit);
    if (gloo != nullptr) {
      gloo->WriteLine(std::to_string(samples));
      gloo_over_echo.push_back(std::stod(gloo->ReadLine()) / floor);
    }
    fmt::print(stderr, "\r{} ranks, {} channels: round {} of {}   ", size.ranks,
               size.channels, round + 1, rounds);
  }
  fmt::print(stderr, "\n");
  outcome.memory_over_echo = Median(over_echo);
  outcome.durable_over_echo = Median(durable_over_echo);
  outcome.commits_a_step = Median(commits);
  outcome.commits_beyond_bound = Median(beyond_bound);
  if (!gloo_over_echo.empty()) outcome.gloo_over_echo = Median(gloo_over_echo);
  return outcome;
}

struct CrowdOutcome {
  double beside_waiting = 0;
  double all_over_echo = 0;
};

CrowdOutcome MeasureCrowd(const Options& options, Server& server,
                          const std::string& echo_address) {
  constexpr std::size_t kGroups = 1000;
  constexpr int kVolleys = 3;  // a round
  Crowd crowd(server.address(), echo_address, kGroups);
  std::vector<double> beside_waiting;
  std::vector<double> all_over_echo;
  const int rounds = options.is_quick ? 3 : 7;
  for (int round = 0; round < rounds; ++round) {
    beside_waiting.push_back(crowd.BesideWaiting());
    for (int i = 0; i < kVolleys; ++i) {
      all_over_echo.push_back(crowd.AllOverEcho());
    }
    fmt::print(stderr, "\r{} groups: round {} of {}   ", kGroups, round + 1,
               rounds);
  }
  fmt::print(stderr, "\n");
  return {Median(beside_waiting), Median(all_over_echo)};
}

std::vector<Target> TargetsOf(const std::vector<Outcome>& outcomes,
                              const std::optional<CrowdOutcome>& crowd) {
  std::vector<Target> targets;
  for (const Outcome& outcome : outcomes) {
    const std::string size = fmt::format(
        "{}-ranks-{}-channels", outcome.size.ranks, outcome.size.channels);
    targets.push_back({"memory-over-echo-" + size, outcome.memory_over_echo,
                       kMostEchoes, false});
    targets.push_back({"durable-commits-beyond-" + size,
                       outcome.commits_beyond_bound, kPhases, false});
  }
  if (!crowd.has_value()) return targets;
  targets.push_back(
      {"beside-1000-waiting-groups", crowd->beside_waiting, 1.1, false});
  targets.push_back(
      {"1000-groups-at-once-over-echo", crowd->all_over_echo, 1.5, false});
  return targets;
}

void PrintGroups(const std::vector<Outcome>& outcomes) {
  fmt::print(
      "\n| ranks | channels | step in memory over echo | durable over echo | "
      "commits that durability adds | commits beyond {} echoes | "
      "gloo over echo |\n"
      "|---|---|---|---|---|---|---|\n",
      kMostEchoes);
  for (const Outcome& each : outcomes) {
    fmt::print(
        "| {} | {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {} |\n",
        each.size.ranks, each.size.channels, each.memory_over_echo,
        each.durable_over_echo, each.commits_a_step, each.commits_beyond_bound,
        each.gloo_over_echo ? fmt::format("{:.2f}", *each.gloo_over_echo) : "");
  }
}

void PrintCrowd(const CrowdOutcome& crowd) {
  fmt::print(
      "\n| 1,000 groups of 2 ranks, 64 channels | |\n|---|---|\n"
      "| a step of one while all others wait, over alone | {:.2f} |\n"
      "| all forwards at once, over as many echoes | {:.2f} |\n\n",
      crowd.beside_waiting, crowd.all_over_echo);
}

ordered_json JsonOf(const Outcome& outcome) {
  ordered_json json = {{"ranks", outcome.size.ranks},
                       {"channels", outcome.size.channels},
                       {"memory_over_echo", outcome.memory_over_echo},
                       {"durable_over_echo", outcome.durable_over_echo},
                       {"commits_a_step", outcome.commits_a_step},
                       {"commits_beyond_bound", outcome.commits_beyond_bound}};
  if (outcome.gloo_over_echo) json["gloo_over_echo"] = *outcome.gloo_over_echo;
  return json;
}

void Run(const Options& options) {
  const std::string store = options.folder + "/sync-store";
  fs::remove_all(store);
  fs::create_directories(store);
  Server memory(options.folder, {"--store", "memory"});
  Server durable(options.folder, {"--data-dir", store + "/data"});
  Child echo({options.folder + "/sync_benchmark", "--echo-server"});
  const std::string echo_address = echo.ReadLine();
  std::vector<Outcome> outcomes;
  for (const GroupSize& size : Sizes()) {
    if (!options.only.empty() && options.only != NameOf(size)) continue;
    outcomes.push_back(
        Compete(options, size, memory, durable, echo_address, store));
  }
  std::optional<CrowdOutcome> crowd;
  if (options.only.empty() || options.only == kCrowd) {
    crowd = MeasureCrowd(options, memory, echo_address);
  }
  fs::remove_all(store);
  if (options.is_json) {
    ordered_json document = {{"machine", Describe(ThisMachine())},
                             {"groups", ordered_json::array()}};
    if (crowd.has_value()) {
      document["beside_waiting"] = crowd->beside_waiting;
      document["all_over_echo"] = crowd->all_over_echo;
    }
    for (const auto& each : outcomes) {
      document["groups"].push_back(JsonOf(each));
    }
    fmt::print("{}\n", document.dump(2));
  } else {
    fmt::print("{}\n", Describe(ThisMachine()));
    if (!outcomes.empty()) PrintGroups(outcomes);
    if (crowd.has_value()) PrintCrowd(*crowd);
  }
  for (const Target& target : TargetsOf(outcomes, crowd)) {
    fmt::print(options.is_json ? stderr : stdout, "{}\n", LineOf(target));
  }
}

}  // namespace
}  // namespace batchnorm::benchmark

int main(int argc, char** argv) {
  using namespace batchnorm::benchmark;
  Options options;
  std::string format = "table";
  bool is_echo_server = false;
  options.folder = std::filesystem::absolute(argv[0]).parent_path().string();
  CLI::App app{"What a step costs a group of ranks that send only their sums"};
  app.add_flag("--quick", options.is_quick, "Fewer rounds");
  app.add_option("--format", format, "For people or for programs")
      ->check(CLI::IsMember({"table", "json"}));
  app.add_option("--python", options.python,
                 "A Python with PyTorch, for gloo (without: no gloo)");
  app.add_option("--only", options.only,
                 "RANKSxCHANNELS: this group alone; crowd: the 1,000 groups")
      ->check(CLI::IsMember(Parts()));
  app.add_flag("--echo-server", is_echo_server, "Be the floor")->group("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.is_json = format == "json";
  // As batchnormd does (server/lock_checks.h), for ranks and for echoes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  try {
    if (is_echo_server) {
      ServeEchoes();
    } else {
      Run(options);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "sync_benchmark: {}\n", error.what());
    return 1;
  }
  return 0;
}
