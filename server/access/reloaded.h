// A value that is read from files, and again when these change. What cannot be
// read never replaces what was.
#ifndef BATCHNORMD_SERVER_ACCESS_RELOADED_H_
#define BATCHNORMD_SERVER_ACCESS_RELOADED_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"

namespace batchnorm::access {

// How reading again went, since the beginning.
struct ReloadCounts {
  std::int64_t done = 0;
  std::int64_t failed = 0;  // found damaged; each damage counts once
};

// Thread-safe. Value has ==.
template <typename Value>
class Reloaded {
 public:
  using Read = std::function<absl::StatusOr<Value>()>;
  // OK when a new value is in force, else why the old one stays.
  using Report = std::function<void(const absl::Status&)>;

  Reloaded(Value first, Read read, Report report)
      : read_(std::move(read)),
        report_(std::move(report)),
        value_(std::make_shared<const Value>(std::move(first))) {}

  std::shared_ptr<const Value> value() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

  // For a timer, of one thread. Files are replaced one after the other, so only
  // what is damaged at two ticks in a row is a failure.
  void Tick() {
    absl::StatusOr<Value> read = read_();
    if (!read.ok()) {
      if (read.status() == last_error_) {
        Fail();
      } else {
        last_error_ = read.status();
        is_reported_ = false;
      }
      return;
    }
    last_error_ = absl::OkStatus();
    if (*read == *value()) return;
    Replace(*std::move(read));
  }

  ReloadCounts counts() const { return {done_, failed_}; }

 private:
  void Fail() {
    if (std::exchange(is_reported_, true)) return;
    ++failed_;
    report_(last_error_);
  }

  void Replace(Value value) {
    {
      const std::lock_guard lock(mutex_);
      value_ = std::make_shared<const Value>(std::move(value));
    }
    ++done_;
    report_(absl::OkStatus());
  }

  const Read read_;
  const Report report_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Value> value_;  // guarded by mutex_
  std::atomic<std::int64_t> done_{0};
  std::atomic<std::int64_t> failed_{0};
  // Of the timer's thread.
  absl::Status last_error_;
  bool is_reported_ = false;
};

}  // namespace batchnorm::access

#endif  // BATCHNORMD_SERVER_ACCESS_RELOADED_H_
