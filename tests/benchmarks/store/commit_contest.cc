#include "tests/benchmarks/store/commit_contest.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <latch>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "server/rpc/thread_pool.h"
#include "server/session/registry.h"
#include "server/storage/sqlite_store.h"
#include "tests/benchmarks/store/bare_sqlite.h"
#include "tests/benchmarks/store/recording_store.h"

namespace batchnorm::benchmark {
namespace {

using session::Registry;
using Clock = std::chrono::steady_clock;

void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

// As small as a batch can be while the step stays a real one: what is measured
// is below the kernel.
session::Tensor Batch8(std::int64_t channels) {
  std::mt19937 bits(1);
  std::normal_distribution<float> normal;
  std::string data(static_cast<std::size_t>(8 * channels) * sizeof(float), 0);
  for (std::size_t i = 0; i < data.size(); i += sizeof(float)) {
    const float value = normal(bits);
    std::memcpy(&data[i], &value, sizeof(value));
  }
  return {.dtype = kernel::Dtype::kF32,
          .shape = {8, channels},
          .data = std::make_shared<const std::string>(std::move(data))};
}

std::string NameOf(int session) { return std::to_string(session); }

void Create(const CommitContest& contest, Registry& registry) {
  session::SessionConfig config;
  config.channels = contest.channels;
  config.kept_input_policy = session::KeptInputPolicy::kDiscard;
  for (int i = 0; i < contest.sessions; ++i) {
    Check(registry.Create(NameOf(i), config).status());
  }
}

// One session's steps, each taken when the one before lasts. As in the server,
// no thread waits for a commit: whoever is told that a step lasts asks the pool
// to take the next.
class Driver {
 public:
  Driver(std::shared_ptr<session::Session> session, const session::Tensor& x,
         rpc::ThreadPool& pool)
      : session_(std::move(session)), x_(x), pool_(pool) {}

  // Counts `done` down after the last of `steps` steps.
  void Take(int steps, std::latch& done) {
    pool_.Run([this, steps, &done] { TakeNow(steps, done); });
  }

 private:
  void TakeNow(int steps, std::latch& done) {
    session::ForwardCall call;
    call.x = x_;
    session_->Forward(call, [this, steps, &done](auto result) {
      Check(result.status());
      session_->WhenItLasts(result->change,
                            [this, steps, &done](const absl::Status& lasts) {
                              Check(lasts);
                              if (steps == 1) return done.count_down();
                              Take(steps - 1, done);
                            });
    });
  }

  const std::shared_ptr<session::Session> session_;
  const session::Tensor& x_;
  rpc::ThreadPool& pool_;
};

void TakeSteps(int steps, std::vector<std::unique_ptr<Driver>>& drivers) {
  std::latch done(std::ssize(drivers));
  for (const auto& driver : drivers) driver->Take(steps, done);
  done.wait();
}

double SecondsOfSteps(const CommitContest& contest, Registry& registry) {
  const session::Tensor x = Batch8(contest.channels);
  std::vector<std::unique_ptr<Driver>> drivers;
  drivers.reserve(static_cast<std::size_t>(contest.sessions));
  // As many threads as the server has for steps.
  rpc::ThreadPool pool(
      static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  for (int i = 0; i < contest.sessions; ++i) {
    drivers.push_back(
        std::make_unique<Driver>(*registry.Find(NameOf(i)), x, pool));
  }
  TakeSteps(1, drivers);
  const auto begin = Clock::now();
  TakeSteps(contest.steps - 1, drivers);
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::unique_ptr<storage::Store> Open(const std::string& path) {
  auto store = storage::SqliteStore::Open({.path = path});
  Check(store.status());
  return *std::move(store);
}

// Those up to the first step of each session are not timed.
std::size_t UntimedBatches(const std::vector<Batch>& batches, int sessions) {
  std::size_t rows = 0;
  std::size_t count = 0;
  while (rows < 2 * static_cast<std::size_t>(sessions)) {
    rows += batches.at(count++).size();
  }
  return count;
}

}  // namespace

CommitRound RunRound(const CommitContest& contest, const std::string& folder) {
  const std::string ours = folder + "/ours.db";
  const std::string bare = folder + "/sqlite.db";
  CommitRound round;
  RecordingStore store(Open(ours));
  session::RegistryOptions options;
  options.store = &store;
  {
    Registry registry(options);
    Create(contest, registry);
    round.ours = SecondsOfSteps(contest, registry);
  }
  const std::vector<Batch> batches = store.TakeBatches();
  const std::size_t untimed = UntimedBatches(batches, contest.sessions);
  const std::span<const Batch> all(batches);
  round.sqlite =
      SecondsOfBareSqlite(bare, all.first(untimed), all.subspan(untimed));
  round.transactions = std::ssize(all) - static_cast<std::int64_t>(untimed);
  for (const Batch& batch : all.subspan(untimed)) {
    round.steps += std::ssize(batch);
  }
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    std::filesystem::remove(file);
  }
  return round;
}

}  // namespace batchnorm::benchmark
