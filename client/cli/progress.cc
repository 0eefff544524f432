#include "client/cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <utility>

namespace batchnorm::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFirst = std::chrono::milliseconds(500);
constexpr auto kInterval = std::chrono::milliseconds(200);
constexpr char kWipe[] = "\r\x1b[K";

}  // namespace

Progress::Progress(std::string what) : what_(std::move(what)) {
  if (isatty(STDERR_FILENO) == 1) thread_ = std::thread([this] { Show(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ended_changed_.notify_one();
  thread_.join();
}

void Progress::Show() {
  const auto begin = Clock::now();
  const auto ended = [this] { return ended_; };
  std::unique_lock lock(mutex_);
  if (ended_changed_.wait_for(lock, kFirst, ended)) return;
  do {
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - begin);
    fmt::print(stderr, "{}{}: {} s", kWipe, what_, seconds.count());
    std::fflush(stderr);
  } while (!ended_changed_.wait_for(lock, kInterval, ended));
  std::fputs(kWipe, stderr);
}

}  // namespace batchnorm::cli
