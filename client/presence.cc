#include "client/presence.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "client/connection.h"
#include "client/error.h"
#include "client/retry_policy.h"

namespace batchnorm::client {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(200);
constexpr absl::Duration kLongestPause = absl::Seconds(2);

// Whether another attempt may succeed.
bool Passes(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
      return true;
    case absl::StatusCode::kAborted:
      return Reason(status) != "CALL_REPLACED";
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return Reason(status).empty();  // a stream that broke on its way
    case absl::StatusCode::kResourceExhausted:
      return RetryAfter(status).has_value();
    default:
      return false;
  }
}

// Ranks that lost a server together do not come back in one instant.
absl::Duration Shortened(absl::Duration pause) {
  return pause * (0.5 + 0.5 * RetryEnvironment::RandomFraction());
}

v1::JoinRequest ToProto(const JoinArgs& args) {
  v1::JoinRequest request;
  request.set_session(args.session);
  request.set_rank(args.rank);
  request.set_job(args.job);
  request.set_writer_token(args.writer_token);
  return request;
}

}  // namespace

struct Presence::State {
  State(std::shared_ptr<Connection> connection_of, const JoinArgs& args)
      : connection(std::move(connection_of)),
        request(ToProto(args)),
        thread([this] { Run(); }) {}

  ~State() {
    {
      const std::lock_guard lock(mutex);
      ended = true;
      if (stream != nullptr) stream->Cancel();
    }
    changed.notify_all();
    thread.join();
  }

  void Run() {
    while (Open()) {
      Listen();
      if (!PauseBeforeNext()) return;
    }
  }

  bool Open() {
    auto opened = connection->Join(request);
    const std::lock_guard lock(mutex);
    if (ended) return false;
    stream = std::move(opened);
    return true;
  }

  void Listen() {
    v1::JoinResponse response;
    while (stream->Read(response)) {
      pause = kFirstPause;
      const std::lock_guard lock(mutex);
      present.assign(response.present_ranks().begin(),
                     response.present_ranks().end());
    }
  }

  // False if there is no next attempt.
  bool PauseBeforeNext() {
    absl::Status outcome = stream->Finish();
    std::unique_lock lock(mutex);
    stream.reset();
    if (!outcome.ok() && !Passes(outcome) && !ended) {
      status = std::move(outcome);
      return false;
    }
    changed.wait_for(lock, absl::ToChronoMilliseconds(Shortened(pause)),
                     [this] { return ended; });
    pause = std::min(2 * pause, kLongestPause);
    return !ended;
  }

  const std::shared_ptr<Connection> connection;
  const v1::JoinRequest request;
  absl::Duration pause = kFirstPause;  // the thread's own

  mutable std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex; `stream` is changed by the thread only.
  bool ended = false;
  std::unique_ptr<JoinStream> stream;
  std::vector<std::uint32_t> present;
  absl::Status status;

  std::thread thread;
};

Presence::Presence(std::shared_ptr<Connection> connection, const JoinArgs& args)
    : state_(std::make_unique<State>(std::move(connection), args)) {}
Presence::Presence(Presence&&) noexcept = default;
Presence& Presence::operator=(Presence&&) noexcept = default;
Presence::~Presence() = default;

absl::Status Presence::status() const {
  const std::lock_guard lock(state_->mutex);
  return state_->status;
}

std::vector<std::uint32_t> Presence::present_ranks() const {
  const std::lock_guard lock(state_->mutex);
  return state_->present;
}

}  // namespace batchnorm::client
