#include "tests/benchmarks/store/cold_sessions.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <vector>

#include "absl/time/clock.h"
#include "server/session/registry.h"
#include "server/session/session_row.h"
#include "server/storage/sqlite_store.h"

namespace batchnorm::benchmark {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kChannels = 64;
constexpr std::int64_t kRowsATransaction = 1000;
constexpr std::int32_t kPage = 1000;

void Check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0;
  std::int64_t resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::string NameOf(std::int64_t number) {
  std::string digits = std::to_string(number);
  return "net/layer" + std::string(8 - digits.size(), '0') + digits;
}

// As a session is after some steps: the window is full.
session::SessionRow TrainedRow() {
  session::SessionRow row;
  row.header.config.channels = kChannels;
  row.header.create_time = row.header.write_time = absl::Now();
  row.header.last_step = 1000;
  row.running = session::InitialStatistics(kChannels);
  row.steps.resize(row.header.config.step_window);
  return row;
}

// The seconds of each page.
std::vector<double> ListAll(session::Registry& registry) {
  std::vector<double> seconds;
  std::string token;
  do {
    const auto begin = Clock::now();
    const auto page = registry.List(kPage, token, "");
    Check(page.status());
    token = page->next_page_token;
    seconds.push_back(SecondsSince(begin));
  } while (!token.empty());
  return seconds;
}

double Sum(const std::vector<double>& values, std::size_t from,
           std::size_t to) {
  double sum = 0;
  for (std::size_t i = from; i < to; ++i) sum += values[i];
  return sum;
}

void MeasureList(session::Registry& registry, ColdSessions& result) {
  const std::vector<double> pages = ListAll(registry);
  const std::size_t half = pages.size() / 2;
  result.list_seconds = Sum(pages, 0, pages.size());
  result.list_slowdown =
      Sum(pages, pages.size() - half, pages.size()) / Sum(pages, 0, half);
}

void MeasureLoading(session::Registry& registry, ColdSessions& result) {
  const std::int64_t loads = std::min<std::int64_t>(10'000, result.sessions);
  const std::int64_t before = ResidentBytes();
  const auto begin = Clock::now();
  for (std::int64_t i = 0; i < loads; ++i) {
    Check(registry.Find(NameOf(i * (result.sessions / loads))).status());
  }
  result.load_seconds = SecondsSince(begin) / static_cast<double>(loads);
  result.bytes_loaded = static_cast<double>(ResidentBytes() - before) /
                        static_cast<double>(loads);
}

}  // namespace

void MakeSessions(std::int64_t sessions, const std::string& path) {
  auto store = storage::SqliteStore::Open({.path = path});
  Check(store.status());
  const session::SessionRow row = TrainedRow();
  std::vector<storage::Write> writes;
  for (std::int64_t i = 0; i < sessions; ++i) {
    writes.push_back(session::EncodeRow(row.header, row.running, row.steps,
                                        row.writers, NameOf(i),
                                        {.incarnation = 1}));
    if (std::ssize(writes) < kRowsATransaction && i + 1 < sessions) continue;
    Check((*store)->Commit(writes).status());
    writes.clear();
  }
}

ColdSessions MeasureColdSessions(const std::string& path) {
  ColdSessions result;
  const std::int64_t before = ResidentBytes();
  const auto begin = Clock::now();
  auto store = storage::SqliteStore::Open({.path = path});
  Check(store.status());
  session::RegistryOptions options;
  options.store = store->get();
  session::Registry registry(options);
  result.ready_seconds = SecondsSince(begin);
  result.sessions = registry.session_count();
  result.file_bytes =
      static_cast<std::int64_t>(std::filesystem::file_size(path));
  MeasureList(registry, result);
  result.bytes_a_session = static_cast<double>(ResidentBytes() - before) /
                           static_cast<double>(result.sessions);
  MeasureLoading(registry, result);
  return result;
}

}  // namespace batchnorm::benchmark
