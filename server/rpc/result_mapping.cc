#include "server/rpc/result_mapping.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/rpc/config_mapping.h"
#include "server/rpc/tensor_mapping.h"

namespace batchnorm::rpc {
namespace {

v1::SessionCounters ToProto(const session::Counters& counters) {
  v1::SessionCounters proto;
  proto.set_forward_count(counters.forward_count);
  proto.set_replay_count(counters.replay_count);
  proto.set_inference_count(counters.inference_count);
  proto.set_backward_count(counters.backward_count);
  proto.set_evicted_input_count(counters.evicted_input_count);
  return proto;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  const std::int64_t seconds = absl::ToUnixSeconds(time);  // rounds down
  google::protobuf::Timestamp proto;
  proto.set_seconds(seconds);
  proto.set_nanos(static_cast<std::int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return proto;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  const std::int64_t seconds =
      absl::IDivDuration(duration, absl::Seconds(1), &duration);
  proto.set_seconds(seconds);
  proto.set_nanos(
      static_cast<std::int32_t>(absl::ToInt64Nanoseconds(duration)));
  return proto;
}

v1::RankState ToProto(const session::RankView& rank) {
  v1::RankState proto;
  proto.set_rank(rank.rank);
  proto.set_is_joined(rank.job.has_value());
  proto.set_job(rank.job.value_or(""));
  if (rank.seen_ago) *proto.mutable_seen_ago() = ToProto(*rank.seen_ago);
  if (rank.last_wait) *proto.mutable_last_wait() = ToProto(*rank.last_wait);
  return proto;
}

v1::BarrierState ToProto(const session::BarrierView& barrier) {
  v1::BarrierState proto;
  proto.set_step(barrier.key.step);
  proto.set_phase(barrier.key.phase == session::Phase::kForward
                      ? v1::GROUP_PHASE_FORWARD
                      : v1::GROUP_PHASE_BACKWARD);
  proto.set_pass(barrier.key.pass);
  proto.set_attempt(barrier.attempt);
  *proto.mutable_age() = ToProto(barrier.age);
  proto.mutable_present_ranks()->Add(barrier.present.begin(),
                                     barrier.present.end());
  proto.mutable_missing_ranks()->Add(barrier.missing.begin(),
                                     barrier.missing.end());
  return proto;
}

v1::GroupState ToProto(const session::GroupView& group) {
  v1::GroupState proto;
  for (const session::RankView& rank : group.ranks) {
    *proto.add_ranks() = ToProto(rank);
  }
  for (const session::BarrierView& barrier : group.barriers) {
    *proto.add_barriers() = ToProto(barrier);
  }
  return proto;
}

// k is 2^-scale times what the contract says, where scale is not 0.
std::vector<double> UnscaledK(const kernel::Statistics& statistics,
                              const kernel::Gradients& gradients) {
  std::vector<double> k = gradients.k;
  for (std::size_t c = 0; c < k.size(); ++c) {
    if (statistics.scale[c] == 0) continue;  // nearly always
    k[c] = std::ldexp(k[c], statistics.scale[c]);
  }
  return k;
}

}  // namespace

v1::GradientStatistics ToProto(const kernel::Statistics& statistics,
                               const kernel::Gradients& gradients) {
  v1::GradientStatistics proto;
  proto.set_count(statistics.count);
  *proto.mutable_dgamma() = ToProto(gradients.dgamma);
  *proto.mutable_dbeta() = ToProto(gradients.dbeta);
  *proto.mutable_mean_dy() = ToProto(gradients.mean_dy);
  *proto.mutable_mean_dy_lo() = ToProto(gradients.mean_dy_lo);
  *proto.mutable_k() = ToProto(UnscaledK(statistics, gradients));
  return proto;
}

v1::BatchStatistics ToProto(const kernel::Statistics& statistics) {
  v1::BatchStatistics proto;
  proto.set_count(statistics.count);
  *proto.mutable_mean() = ToProto(statistics.mean);
  *proto.mutable_mean_lo() = ToProto(statistics.mean_lo);
  *proto.mutable_var() = ToProto(statistics.var);
  *proto.mutable_inv_std() = ToProto(statistics.inv_std);
  return proto;
}

v1::RunningStatistics ToProto(const session::RunningStatistics& running) {
  v1::RunningStatistics proto;
  *proto.mutable_mean() = ToProto(running.mean);
  *proto.mutable_var() = ToProto(running.var);
  proto.set_batch_count(running.batch_count);
  return proto;
}

v1::Session ToProto(const session::Snapshot& snapshot) {
  v1::Session proto;
  proto.set_name(snapshot.name);
  if (snapshot.is_damaged) return proto;
  *proto.mutable_config() = ToProto(snapshot.config);
  proto.set_last_step(snapshot.last_step);
  if (snapshot.running) {
    *proto.mutable_running_statistics() = ToProto(*snapshot.running);
  }
  *proto.mutable_create_time() = ToProto(snapshot.create_time);
  proto.set_kept_input_bytes(snapshot.kept_input_bytes);
  *proto.mutable_counters() = ToProto(snapshot.counters);
  if (snapshot.group) *proto.mutable_group() = ToProto(*snapshot.group);
  return proto;
}

v1::ListSessionsResponse ToProto(const session::SessionPage& page) {
  v1::ListSessionsResponse proto;
  for (const session::Snapshot& snapshot : page.sessions) {
    *proto.add_sessions() = ToProto(snapshot);
  }
  proto.set_next_page_token(page.next_page_token);
  return proto;
}

v1::ForwardResponse ToProto(session::ForwardResult result) {
  v1::ForwardResponse proto;
  proto.set_step(result.step);
  if (result.statistics) {
    *proto.mutable_statistics() = ToProto(*result.statistics);
  }
  proto.set_statistics_step(result.statistics_step);
  *proto.mutable_y() =
      ToProto(result.dtype, std::move(result.shape), std::move(result.y));
  return proto;
}

v1::BackwardResponse ToProto(session::BackwardResult result) {
  v1::BackwardResponse proto;
  proto.set_step(result.step);
  *proto.mutable_dgamma() = ToProto(result.dgamma);
  *proto.mutable_dbeta() = ToProto(result.dbeta);
  *proto.mutable_dx() =
      ToProto(result.dtype, std::move(result.shape), std::move(result.dx));
  return proto;
}

v1::SyncResponse ToProto(const session::SyncResult& result) {
  v1::SyncResponse proto;
  proto.set_step(result.step);
  *proto.mutable_statistics() = ToProto(result.batch->statistics);
  if (result.gradients) {
    *proto.mutable_gradients() =
        ToProto(result.batch->statistics, *result.gradients);
  }
  return proto;
}

v1::EvaluateResponse ToProto(EvaluationResult result) {
  v1::EvaluateResponse proto;
  if (result.statistics) {
    *proto.mutable_statistics() = ToProto(*result.statistics);
  }
  if (result.running) {
    *proto.mutable_running_statistics() = ToProto(*result.running);
  }
  if (result.dgamma) *proto.mutable_dgamma() = ToProto(*result.dgamma);
  if (result.dbeta) *proto.mutable_dbeta() = ToProto(*result.dbeta);
  if (result.dx) {
    *proto.mutable_dx() =
        ToProto(result.dtype, result.shape, *std::move(result.dx));
  }
  if (result.y) {
    *proto.mutable_y() =
        ToProto(result.dtype, result.shape, *std::move(result.y));
  }
  return proto;
}

}  // namespace batchnorm::rpc
