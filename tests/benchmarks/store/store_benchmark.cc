// What it costs that sessions last: commits beside SQLite alone, and sessions
// that nobody uses. See ../README.md.
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/benchmarks/machine.h"
#include "tests/benchmarks/pairing.h"
#include "tests/benchmarks/store/cold_sessions.h"
#include "tests/benchmarks/store/commit_contest.h"
#include "tests/benchmarks/target.h"

namespace batchnorm::benchmark {
namespace {

using nlohmann::ordered_json;

struct Options {
  bool is_quick = false;
  bool is_json = false;
  std::string folder;
};

// On the disk where the build is, unless told otherwise: a folder in memory
// would flush for free.
class Folder {
 public:
  explicit Folder(const std::string& parent) : path_(parent + "/store-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      throw std::runtime_error("cannot make a folder in " + parent);
    }
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Commits {
  CommitContest contest;
  double speed;  // commits a second over SQLite's, median
  double steps_a_second;
  double steps_a_transaction;
};

Commits Compete(const CommitContest& contest, int rounds,
                const std::string& folder) {
  std::vector<double> speeds;
  std::vector<double> shared;
  std::vector<double> rates;
  for (int i = 0; i < rounds; ++i) {
    const CommitRound round = RunRound(contest, folder);
    speeds.push_back(round.sqlite / round.ours);
    rates.push_back(static_cast<double>(round.steps) / round.ours);
    shared.push_back(static_cast<double>(round.steps) /
                     static_cast<double>(round.transactions));
    fmt::print(stderr, "\r{} sessions: round {} of {}", contest.sessions, i + 1,
               rounds);
  }
  fmt::print(stderr, "\n");
  return {contest, Median(speeds), Median(rates), Median(shared)};
}

// In a process of its own, whose memory is nothing but that.
ColdSessions MeasureApart(const std::string& path) {
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    const ColdSessions cold = MeasureColdSessions(path);
    const bool written = write(pipe_ends[1], &cold, sizeof(cold)) ==
                         static_cast<ssize_t>(sizeof(cold));
    _exit(written ? 0 : 1);
  }
  ColdSessions cold;
  const bool complete =
      read(pipe_ends[0], &cold, sizeof(cold)) == ssize_t{sizeof(cold)};
  int status = 0;
  waitpid(child, &status, 0);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  if (!complete || status != 0) throw std::runtime_error("the child failed");
  return cold;
}

std::vector<Target> TargetsOf(const Commits& many, const Commits& lone,
                              const ColdSessions& cold) {
  return {
      {"commits-64-sessions-over-sqlite", many.speed, 0.5, true},
      {"lone-session-commits-a-step", 1 / lone.steps_a_transaction, 1, false},
      {"cold-session-bytes", cold.bytes_a_session, 512, false},
      {"cold-ready-seconds", cold.ready_seconds, 3, false},
      {"cold-list-slowdown", cold.list_slowdown, 1.5, false}};
}

void PrintTables(const Commits& many, const Commits& lone,
                 const ColdSessions& cold) {
  fmt::print(
      "\n| sessions | commits over SQLite alone | steps a transaction |\n"
      "|---|---|---|\n");
  for (const Commits& commits : {lone, many}) {
    fmt::print("| {} | {:.2f} | {:.1f} |\n", commits.contest.sessions,
               commits.speed, commits.steps_a_transaction);
  }
  fmt::print(
      "\n| {} sessions of 64 channels | |\n|---|---|\n"
      "| in the file, bytes each | {:.0f} |\n"
      "| in memory while nobody uses them, bytes each | {:.1f} |\n"
      "| in memory in use, bytes each | {:.0f} |\n"
      "| ready after | {:.3f} s |\n"
      "| loading one over a commit of one step | {:.2f} |\n"
      "| the last half of List's pages over the first, time | {:.2f} |\n",
      cold.sessions,
      static_cast<double>(cold.file_bytes) / static_cast<double>(cold.sessions),
      cold.bytes_a_session, cold.bytes_loaded, cold.ready_seconds,
      cold.load_seconds * lone.steps_a_second, cold.list_slowdown);
}

ordered_json JsonOf(const Commits& commits) {
  return {{"sessions", commits.contest.sessions},
          {"commits_over_sqlite", commits.speed},
          {"steps_a_transaction", commits.steps_a_transaction}};
}

ordered_json JsonOf(const ColdSessions& cold) {
  return {{"sessions", cold.sessions},
          {"file_bytes", cold.file_bytes},
          {"bytes_a_session", cold.bytes_a_session},
          {"bytes_a_loaded_session", cold.bytes_loaded},
          {"ready_seconds", cold.ready_seconds},
          {"list_slowdown", cold.list_slowdown}};
}

void Run(const Options& options) {
  const Folder folder(options.folder);
  const std::string cold_path = folder.path() + "/cold/sessions.db";
  std::filesystem::create_directory(folder.path() + "/cold");
  MakeSessions(options.is_quick ? 20'000 : 100'000, cold_path);
  const ColdSessions cold = MeasureApart(cold_path);
  std::filesystem::remove_all(folder.path() + "/cold");
  const int rounds = options.is_quick ? 3 : 7;
  const int steps = options.is_quick ? 50 : 200;
  const Commits lone =
      Compete({.sessions = 1, .steps = 4 * steps, .channels = 64}, rounds,
              folder.path());
  const Commits many = Compete({.sessions = 64, .steps = steps, .channels = 64},
                               rounds, folder.path());
  const std::vector<Target> targets = TargetsOf(many, lone, cold);
  if (options.is_json) {
    ordered_json document = {{"machine", Describe(ThisMachine())},
                             {"commits", {JsonOf(lone), JsonOf(many)}},
                             {"cold", JsonOf(cold)}};
    fmt::print("{}\n", document.dump(2));
  } else {
    fmt::print("{}\n", Describe(ThisMachine()));
    PrintTables(many, lone, cold);
    fmt::print("\n");
  }
  for (const Target& target : targets) {
    fmt::print(options.is_json ? stderr : stdout, "{}\n", LineOf(target));
  }
}

}  // namespace
}  // namespace batchnorm::benchmark

int main(int argc, char** argv) {
  using namespace batchnorm::benchmark;
  Options options;
  std::string format = "table";
  options.folder = std::filesystem::path(argv[0]).parent_path().string();
  CLI::App app{"What it costs that sessions last, beside SQLite alone"};
  app.add_flag("--quick", options.is_quick, "Fewer steps, sessions and rounds");
  app.add_option("--format", format, "For people or for programs")
      ->check(CLI::IsMember({"table", "json"}));
  app.add_option("--folder", options.folder,
                 "Where to write: the disk that is measured");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.is_json = format == "json";
  try {
    Run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "store_benchmark: {}\n", error.what());
    return 1;
  }
  return 0;
}
