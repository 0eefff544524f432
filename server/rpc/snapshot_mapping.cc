#include "server/rpc/snapshot_mapping.h"

#include <limits>
#include <utility>
#include <vector>

#include "server/rpc/config_mapping.h"
#include "server/rpc/result_mapping.h"
#include "server/rpc/tensor_mapping.h"
#include "server/session/error.h"

namespace batchnorm::rpc {
namespace {

constexpr char kStatistics[] = "snapshot.running_statistics";

absl::Status Missing(const char* field) {
  return session::InvalidField(field, "BAD_SNAPSHOT",
                               "expected it, the snapshot holds none");
}

// All numbers of a tensor of any dtype, in order.
absl::StatusOr<std::vector<double>> TakeVector(v1::Tensor* proto,
                                               const std::string& field) {
  const absl::StatusOr<session::Tensor> tensor =
      TakeRequiredTensor(proto, field, "BAD_SNAPSHOT");
  if (!tensor.ok()) return tensor.status();
  absl::Status form = session::CheckTensor(
      *tensor, field, std::numeric_limits<std::int64_t>::max());
  if (!form.ok()) return form;
  std::int64_t count = 1;
  for (const std::int64_t size : tensor->shape) count *= size;
  return session::ChannelVector(&*tensor, count, field);
}

absl::StatusOr<session::RunningStatistics> TakeRunning(
    v1::RunningStatistics running) {
  const std::string prefix = kStatistics;
  absl::StatusOr<std::vector<double>> mean = TakeVector(
      running.has_mean() ? running.mutable_mean() : nullptr, prefix + ".mean");
  if (!mean.ok()) return mean.status();
  absl::StatusOr<std::vector<double>> var = TakeVector(
      running.has_var() ? running.mutable_var() : nullptr, prefix + ".var");
  if (!var.ok()) return var.status();
  return session::RunningStatistics{.mean = *std::move(mean),
                                    .var = *std::move(var),
                                    .batch_count = running.batch_count()};
}

}  // namespace

absl::StatusOr<session::ExportedSession> Take(v1::SessionSnapshot snapshot) {
  if (!snapshot.has_config()) return Missing("snapshot.config");
  if (!snapshot.has_running_statistics()) return Missing(kStatistics);
  absl::StatusOr<session::SessionConfig> config = FromProto(snapshot.config());
  if (!config.ok()) return config.status();
  absl::StatusOr<session::RunningStatistics> running =
      TakeRunning(std::move(*snapshot.mutable_running_statistics()));
  if (!running.ok()) return running.status();
  return session::ExportedSession{.config = *std::move(config),
                                  .last_step = snapshot.last_step(),
                                  .running = *std::move(running),
                                  .format_version = snapshot.format_version(),
                                  .checksum = snapshot.checksum()};
}

v1::SessionSnapshot ToProto(const session::ExportedSession& exported) {
  v1::SessionSnapshot proto;
  *proto.mutable_config() = ToProto(exported.config);
  proto.set_last_step(exported.last_step);
  *proto.mutable_running_statistics() = ToProto(exported.running);
  proto.set_format_version(exported.format_version);
  proto.set_checksum(exported.checksum);
  return proto;
}

}  // namespace batchnorm::rpc
