#include "client/messages.h"

#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "client/response_reader.h"
#include "proto/wire/tensor_codec.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::client {
namespace {

// The contract numbers its enums as ours, after a 0 for "unspecified".
template <typename Proto, typename Native>
Proto ToProtoEnum(Native value) {
  return static_cast<Proto>(static_cast<int>(value) + 1);
}

// What this build does not know, or was left out, is the default.
template <typename Native>
Native FromProtoEnum(int value, Native last) {
  const bool known = value >= 1 && value <= static_cast<int>(last) + 1;
  return known ? static_cast<Native>(value - 1) : Native();
}

// An absent tensor stays absent.
template <typename Request>
void Put(std::optional<Tensor>&& tensor, Request& request,
         v1::Tensor* (Request::*mutable_field)()) {
  if (!tensor.has_value()) return;
  *(request.*mutable_field)() = wire::ToProto(*std::move(tensor));
}

v1::Tensor VectorToProto(const std::vector<double>& values) {
  return wire::ToProto(
      MakeTensor(values, {static_cast<std::int64_t>(values.size())}));
}

v1::RunningStatistics ToProto(const RunningStatistics& statistics) {
  v1::RunningStatistics proto;
  *proto.mutable_mean() = VectorToProto(statistics.mean);
  *proto.mutable_var() = VectorToProto(statistics.var);
  proto.set_batch_count(statistics.batch_count);
  return proto;
}

Normalization FromProto(const v1::Normalization& proto) {
  Normalization native;
  native.channel_axes = {proto.channel_axes().begin(),
                         proto.channel_axes().end()};
  native.eps = proto.eps();
  native.new_weight = std::nullopt;
  if (!proto.cumulative()) native.new_weight = proto.new_weight();
  native.running_ddof = proto.running_ddof();
  native.degenerate_policy =
      FromProtoEnum(proto.degenerate_policy(), DegeneratePolicy::kIeee);
  return native;
}

SessionConfig FromProto(const v1::SessionConfig& proto) {
  SessionConfig native;
  native.channels = proto.channels();
  native.normalization = FromProto(proto.normalization());
  if (proto.world_size() != 0) native.world_size = proto.world_size();
  if (proto.step_window() != 0) native.step_window = proto.step_window();
  native.gradient_reduction =
      FromProtoEnum(proto.gradient_reduction(), GradientReduction::kMean);
  native.kept_input_policy =
      FromProtoEnum(proto.kept_input_policy(), KeptInputPolicy::kDiscard);
  native.non_finite_policy =
      FromProtoEnum(proto.non_finite_policy(), NonFinitePolicy::kPropagate);
  return native;
}

SessionCounters FromProto(const v1::SessionCounters& proto) {
  return {.forward_count = proto.forward_count(),
          .replay_count = proto.replay_count(),
          .inference_count = proto.inference_count(),
          .backward_count = proto.backward_count(),
          .evicted_input_count = proto.evicted_input_count()};
}

absl::Duration FromProto(const google::protobuf::Duration& proto) {
  return absl::Seconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

RankInfo FromProto(const v1::RankState& proto) {
  RankInfo rank;
  rank.rank = proto.rank();
  if (proto.is_joined()) rank.job = proto.job();
  if (proto.has_seen_ago()) rank.seen_ago = FromProto(proto.seen_ago());
  if (proto.has_last_wait()) rank.last_wait = FromProto(proto.last_wait());
  return rank;
}

BarrierInfo FromProto(const v1::BarrierState& proto) {
  return {.step = proto.step(),
          .phase = FromProtoEnum(proto.phase(), GroupPhase::kBackward),
          .pass = proto.pass(),
          .attempt = proto.attempt(),
          .age = FromProto(proto.age()),
          .present_ranks = {proto.present_ranks().begin(),
                            proto.present_ranks().end()},
          .missing_ranks = {proto.missing_ranks().begin(),
                            proto.missing_ranks().end()}};
}

GroupInfo FromProto(const v1::GroupState& proto) {
  GroupInfo group;
  for (const auto& rank : proto.ranks()) {
    group.ranks.push_back(FromProto(rank));
  }
  for (const auto& barrier : proto.barriers()) {
    group.barriers.push_back(FromProto(barrier));
  }
  return group;
}

absl::Time FromProto(const google::protobuf::Timestamp& proto) {
  return absl::FromUnixSeconds(proto.seconds()) +
         absl::Nanoseconds(proto.nanos());
}

RunningStatistics Read(const v1::RunningStatistics& proto,
                       ResponseReader& reader) {
  return {.mean = reader.ReadVector(proto.mean(), "running_statistics.mean"),
          .var = reader.ReadVector(proto.var(), "running_statistics.var"),
          .batch_count = proto.batch_count()};
}

BatchStatistics Read(const v1::BatchStatistics& proto, ResponseReader& reader) {
  return {.count = proto.count(),
          .mean = reader.ReadVector(proto.mean(), "statistics.mean"),
          .mean_lo = reader.ReadVector(proto.mean_lo(), "statistics.mean_lo"),
          .var = reader.ReadVector(proto.var(), "statistics.var"),
          .inv_std = reader.ReadVector(proto.inv_std(), "statistics.inv_std")};
}

GradientStatistics Read(const v1::GradientStatistics& proto,
                        ResponseReader& reader) {
  return {.dgamma = reader.ReadVector(proto.dgamma(), "gradients.dgamma"),
          .dbeta = reader.ReadVector(proto.dbeta(), "gradients.dbeta"),
          .mean_dy = reader.ReadVector(proto.mean_dy(), "gradients.mean_dy"),
          .mean_dy_lo =
              reader.ReadVector(proto.mean_dy_lo(), "gradients.mean_dy_lo"),
          .k = reader.ReadVector(proto.k(), "gradients.k")};
}

v1::Expansion ToProto(Expansion&& expansion) {
  v1::Expansion proto;
  *proto.mutable_limbs() = wire::ToProto(std::move(expansion.limbs));
  proto.mutable_scales()->Assign(expansion.scales.begin(),
                                 expansion.scales.end());
  return proto;
}

void Put(ForwardSums&& sums, v1::SyncRequest& request) {
  v1::ForwardSums& proto = *request.mutable_forward();
  proto.set_count(sums.count);
  *proto.mutable_sum() = ToProto(std::move(sums.sum));
  *proto.mutable_sum_of_squares() = ToProto(std::move(sums.sum_of_squares));
}

void Put(BackwardSums&& sums, v1::SyncRequest& request) {
  v1::BackwardSums& proto = *request.mutable_backward();
  *proto.mutable_sum_dy() = ToProto(std::move(sums.sum_dy));
  *proto.mutable_sum_dy_x() = ToProto(std::move(sums.sum_dy_x));
}

template <typename Native>
absl::StatusOr<Native> Checked(Native native, const ResponseReader& reader) {
  if (!reader.status().ok()) return reader.status();
  return native;
}

}  // namespace

v1::Normalization ToProto(const Normalization& native) {
  v1::Normalization proto;
  proto.mutable_channel_axes()->Assign(native.channel_axes.begin(),
                                       native.channel_axes.end());
  proto.set_eps(native.eps);
  if (native.new_weight.has_value()) {
    proto.set_new_weight(*native.new_weight);
  } else {
    proto.set_cumulative(true);
  }
  proto.set_running_ddof(native.running_ddof);
  proto.set_degenerate_policy(
      ToProtoEnum<v1::DegeneratePolicy>(native.degenerate_policy));
  return proto;
}

v1::SessionConfig ToProto(const SessionConfig& native) {
  v1::SessionConfig proto;
  proto.set_channels(native.channels);
  *proto.mutable_normalization() = ToProto(native.normalization);
  proto.set_world_size(native.world_size);
  proto.set_step_window(native.step_window);
  proto.set_gradient_reduction(
      ToProtoEnum<v1::GradientReduction>(native.gradient_reduction));
  proto.set_kept_input_policy(
      ToProtoEnum<v1::KeptInputPolicy>(native.kept_input_policy));
  proto.set_non_finite_policy(
      ToProtoEnum<v1::NonFinitePolicy>(native.non_finite_policy));
  return proto;
}

v1::ListSessionsRequest ToProto(const ListSessionsArgs& args) {
  v1::ListSessionsRequest request;
  request.set_page_size(args.page_size);
  request.set_page_token(args.page_token);
  request.set_prefix(args.prefix);
  return request;
}

v1::UpdateSessionRequest ToProto(const UpdateSessionArgs& args) {
  v1::UpdateSessionRequest request;
  request.set_name(args.name);
  request.set_world_size(args.world_size);
  request.set_expected_step(args.expected_step);
  return request;
}

v1::AcquireSessionRequest ToProto(const AcquireSessionArgs& args) {
  v1::AcquireSessionRequest request;
  request.set_name(args.name);
  request.set_rank(args.rank);
  request.set_at_least_step(args.at_least_step);
  return request;
}

v1::SessionSnapshot ToProto(const SessionSnapshot& snapshot) {
  v1::SessionSnapshot proto;
  *proto.mutable_config() = ToProto(snapshot.config);
  proto.set_last_step(snapshot.last_step);
  *proto.mutable_running_statistics() = ToProto(snapshot.running_statistics);
  proto.set_format_version(snapshot.format_version);
  proto.set_checksum(snapshot.checksum);
  return proto;
}

v1::ImportSessionRequest ToProto(const ImportSessionArgs& args) {
  v1::ImportSessionRequest request;
  request.set_name(args.name);
  *request.mutable_snapshot() = ToProto(args.snapshot);
  request.set_replace(args.replace);
  request.set_writer_token(args.writer_token);
  return request;
}

v1::ForwardRequest ToProto(ForwardArgs&& args) {
  v1::ForwardRequest request;
  request.set_session(std::move(args.session));
  request.set_mode(ToProtoEnum<v1::Mode>(args.mode));
  request.set_step(args.step);
  request.set_acknowledged_step(args.acknowledged_step);
  request.set_rank(args.rank);
  request.set_writer_token(std::move(args.writer_token));
  if (args.new_weight) request.set_new_weight(*args.new_weight);
  Put(std::move(args.gamma), request, &decltype(request)::mutable_gamma);
  Put(std::move(args.beta), request, &decltype(request)::mutable_beta);
  *request.mutable_x() = wire::ToProto(std::move(args.x));
  return request;
}

v1::BackwardRequest ToProto(BackwardArgs&& args) {
  v1::BackwardRequest request;
  request.set_session(std::move(args.session));
  request.set_step(args.step);
  request.set_acknowledged_step(args.acknowledged_step);
  request.set_rank(args.rank);
  request.set_pass(args.pass);
  request.set_writer_token(std::move(args.writer_token));
  Put(std::move(args.gamma), request, &decltype(request)::mutable_gamma);
  Put(std::move(args.x), request, &decltype(request)::mutable_x);
  *request.mutable_dy() = wire::ToProto(std::move(args.dy));
  return request;
}

v1::SyncRequest ToProto(SyncArgs&& args) {
  v1::SyncRequest request;
  request.set_session(std::move(args.session));
  request.set_step(args.step);
  request.set_acknowledged_step(args.acknowledged_step);
  request.set_rank(args.rank);
  request.set_pass(args.pass);
  request.set_writer_token(std::move(args.writer_token));
  if (args.new_weight) request.set_new_weight(*args.new_weight);
  std::visit(
      [&request](auto&& sums) {
        Put(std::forward<decltype(sums)>(sums), request);
      },
      std::move(args.sums));
  return request;
}

v1::EvaluateRequest ToProto(EvaluateArgs&& args) {
  v1::EvaluateRequest request;
  request.set_mode(ToProtoEnum<v1::Mode>(args.mode));
  for (const Output output : args.outputs) {
    request.add_outputs(ToProtoEnum<v1::Output>(output));
  }
  *request.mutable_normalization() = ToProto(args.normalization);
  if (args.running_statistics) {
    *request.mutable_running_statistics() = ToProto(*args.running_statistics);
  }
  Put(std::move(args.gamma), request, &decltype(request)::mutable_gamma);
  Put(std::move(args.beta), request, &decltype(request)::mutable_beta);
  Put(std::move(args.dy), request, &decltype(request)::mutable_dy);
  *request.mutable_x() = wire::ToProto(std::move(args.x));
  return request;
}

absl::StatusOr<SessionInfo> FromProto(const v1::Session& session) {
  ResponseReader reader;
  SessionInfo info;
  info.name = session.name();
  info.config = FromProto(session.config());
  info.last_step = session.last_step();
  if (session.has_running_statistics()) {
    info.running_statistics = Read(session.running_statistics(), reader);
  }
  info.create_time = FromProto(session.create_time());
  info.kept_input_bytes = session.kept_input_bytes();
  info.counters = FromProto(session.counters());
  if (session.has_group()) info.group = FromProto(session.group());
  return Checked(std::move(info), reader);
}

absl::StatusOr<SessionPage> FromProto(const v1::ListSessionsResponse& page) {
  SessionPage native;
  native.next_page_token = page.next_page_token();
  for (const v1::Session& session : page.sessions()) {
    absl::StatusOr<SessionInfo> info = FromProto(session);
    if (!info.ok()) return info.status();
    native.sessions.push_back(*std::move(info));
  }
  return native;
}

absl::StatusOr<SessionSnapshot> FromProto(const v1::SessionSnapshot& proto) {
  ResponseReader reader;
  SessionSnapshot snapshot;
  snapshot.config = FromProto(proto.config());
  snapshot.last_step = proto.last_step();
  snapshot.running_statistics = Read(proto.running_statistics(), reader);
  snapshot.format_version = proto.format_version();
  snapshot.checksum = proto.checksum();
  return Checked(std::move(snapshot), reader);
}

absl::StatusOr<ForwardResult> FromProto(ForwardReply&& reply) {
  v1::ForwardResponse& response = reply.response;
  ResponseReader reader;
  ForwardResult result;
  result.step = response.step();
  result.replayed = reply.replayed;
  if (response.has_statistics()) {
    result.statistics = Read(response.statistics(), reader);
  }
  result.statistics_step = response.statistics_step();
  result.y = reader.Read(std::move(*response.mutable_y()), "y");
  return Checked(std::move(result), reader);
}

absl::StatusOr<BackwardResult> FromProto(v1::BackwardResponse&& response) {
  ResponseReader reader;
  BackwardResult result;
  result.step = response.step();
  result.dgamma = reader.ReadVector(response.dgamma(), "dgamma");
  result.dbeta = reader.ReadVector(response.dbeta(), "dbeta");
  result.dx = reader.Read(std::move(*response.mutable_dx()), "dx");
  return Checked(std::move(result), reader);
}

absl::StatusOr<SyncResult> FromProto(SyncReply&& reply) {
  const v1::SyncResponse& response = reply.response;
  ResponseReader reader;
  SyncResult result;
  result.step = response.step();
  result.replayed = reply.replayed;
  result.statistics = Read(response.statistics(), reader);
  if (response.has_gradients()) {
    result.gradients = Read(response.gradients(), reader);
  }
  return Checked(std::move(result), reader);
}

absl::StatusOr<EvaluateResult> FromProto(v1::EvaluateResponse&& response) {
  ResponseReader reader;
  EvaluateResult result;
  if (response.has_y()) {
    result.y = reader.Read(std::move(*response.mutable_y()), "y");
  }
  if (response.has_statistics()) {
    result.statistics = Read(response.statistics(), reader);
  }
  if (response.has_running_statistics()) {
    result.running_statistics = Read(response.running_statistics(), reader);
  }
  if (response.has_dx()) {
    result.dx = reader.Read(std::move(*response.mutable_dx()), "dx");
  }
  if (response.has_dgamma()) {
    result.dgamma = reader.ReadVector(response.dgamma(), "dgamma");
  }
  if (response.has_dbeta()) {
    result.dbeta = reader.ReadVector(response.dbeta(), "dbeta");
  }
  return Checked(std::move(result), reader);
}

}  // namespace batchnorm::client
