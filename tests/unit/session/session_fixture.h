// A session with its quota, and its calls as plain functions that return what
// the completion was given.
#ifndef BATCHNORMD_TESTS_UNIT_SESSION_SESSION_FIXTURE_H_
#define BATCHNORMD_TESTS_UNIT_SESSION_SESSION_FIXTURE_H_

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "server/session/barrier_watch.h"
#include "server/session/input_quota.h"
#include "server/session/session.h"
#include "server/storage/memory_store.h"
#include "tests/matchers.h"
#include "tests/unit/session/tensors.h"

namespace batchnorm::session {

using namespace ::batchnorm::testing;  // the matchers

inline absl::StatusOr<ForwardResult> Forward(Session& session,
                                             const ForwardCall& call) {
  absl::StatusOr<ForwardResult> result = absl::UnknownError("not completed");
  session.Forward(call,
                  [&result](auto completed) { result = std::move(completed); });
  return result;
}

inline absl::StatusOr<BackwardResult> Backward(Session& session,
                                               BackwardCall call) {
  absl::StatusOr<BackwardResult> result = absl::UnknownError("not completed");
  session.Backward(std::move(call), [&result](auto completed) {
    result = std::move(completed);
  });
  return result;
}

inline ForwardCall Train(std::uint64_t step, Tensor x) {
  ForwardCall call;
  call.step = step;
  call.x = std::move(x);
  return call;
}

inline ForwardCall Infer(Tensor x) {
  ForwardCall call;
  call.mode = Mode::kInference;
  call.x = std::move(x);
  return call;
}

inline BackwardCall Gradient(std::uint64_t step, Tensor dy) {
  BackwardCall call;
  call.step = step;
  call.dy = std::move(dy);
  return call;
}

inline BackwardCall Resend(BackwardCall call, Tensor x,
                           std::optional<Tensor> gamma = std::nullopt) {
  call.x = std::move(x);
  call.gamma = std::move(gamma);
  return call;
}

inline SessionConfig Config(std::int64_t channels) {
  SessionConfig config;
  config.channels = channels;
  return config;
}

// A store of its own, in memory.
struct Backing {
  storage::MemoryStore store;
  storage::Committer committer{store, storage::Committer::Where::kCaller};
};

inline SessionRow NewRow(SessionConfig config) {
  SessionRow row;
  row.running = InitialStatistics(config.channels);
  row.header.config = std::move(config);
  row.header.create_time = absl::UnixEpoch();
  return row;
}

inline std::shared_ptr<Session> Open(InputQuota& quota, SessionConfig config,
                                     TensorLimits limits = {}) {
  static const std::function<absl::Time()> epoch = absl::UnixEpoch;
  static std::deque<Backing> backings;  // outlive the sessions
  static BarrierWatch watch;
  static const Run run = [](const std::function<void()>& task) { task(); };
  auto session = std::make_shared<Session>(
      "layer", NewRow(std::move(config)), storage::Version{.incarnation = 1},
      SessionServices{limits, quota, backings.emplace_back().committer, epoch,
                      watch, run, run});
  EXPECT_THAT(session->AwaitLasting(session->Store()), IsOk());
  return session;
}

// All that a refused call must leave as it was.
inline void ExpectSame(const Snapshot& before, const Snapshot& after) {
  EXPECT_EQ(before.last_step, after.last_step);
  EXPECT_EQ(before.running->mean, after.running->mean);
  EXPECT_EQ(before.running->var, after.running->var);
  EXPECT_EQ(before.running->batch_count, after.running->batch_count);
  EXPECT_EQ(before.kept_input_bytes, after.kept_input_bytes);
  EXPECT_EQ(before.counters.forward_count, after.counters.forward_count);
  EXPECT_EQ(before.counters.replay_count, after.counters.replay_count);
  EXPECT_EQ(before.counters.inference_count, after.counters.inference_count);
  EXPECT_EQ(before.counters.backward_count, after.counters.backward_count);
}

class SessionTest : public ::testing::Test {
 protected:
  InputQuota quota_{std::int64_t{1} << 20};
  const Tensor x_ = F64({4, 2}, {1, 5, 2, 6, 3, 7, 4, 9});
  const Tensor other_x_ = F64({4, 2}, {1, 5, 2, 6, 3, 7, 4, 8});
  const Tensor dy_ = F64({4, 2}, {1, 0, 0, 2, 3, -1, 0.5, 1});
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_TESTS_UNIT_SESSION_SESSION_FIXTURE_H_
