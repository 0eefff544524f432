#include "server/session/group_row.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/session/policy.h"

namespace batchnorm::session {

namespace {

std::shared_ptr<const kernel::TrainBatch> ReadBatch(const SessionConfig& config,
                                                    std::string_view bytes,
                                                    ByteReader& in) {
  std::optional<kernel::ForwardSums> sums = kernel::ForwardSums::Parse(bytes);
  if (!sums.has_value() || sums->channels() != config.channels) {
    in.Fail();
    return nullptr;
  }
  const Normalization& constants = config.normalization;
  kernel::Statistics statistics = FinishForward(
      *sums, constants.eps, ToKernel(constants.degenerate_policy));
  return std::make_shared<const kernel::TrainBatch>(
      kernel::TrainBatch{*std::move(sums), std::move(statistics)});
}

// A number of things that follow.
std::uint32_t ReadCount(std::uint32_t most, ByteReader& in) {
  const auto count = in.Read<std::uint32_t>();
  if (count <= most) return count;
  in.Fail();
  return 0;
}

}  // namespace

void AddDigest(const Digest& digest, ByteWriter& out) {
  out.Add(digest.high);
  out.Add(digest.low);
}

Digest ReadDigest(ByteReader& in) {
  Digest digest;
  digest.high = in.Read<std::uint64_t>();
  digest.low = in.Read<std::uint64_t>();
  return digest;
}

void AddFingerprint(const Fingerprint& fingerprint, ByteWriter& out) {
  AddDigest(fingerprint.input, out);
  AddDigest(fingerprint.parameters, out);
}

Fingerprint ReadFingerprint(ByteReader& in) {
  Fingerprint fingerprint;
  fingerprint.input = ReadDigest(in);
  fingerprint.parameters = ReadDigest(in);
  return fingerprint;
}

void AddForward(const GroupStep& step, ByteWriter& out) {
  out.Add(step.world_size());
  for (const Fingerprint& fingerprint : step.fingerprints) {
    AddFingerprint(fingerprint, out);
  }
  out.AddLong(step.batch->sums.Serialize());
}

GroupStep ReadForward(const SessionConfig& config, ByteReader& in) {
  GroupStep step;
  const std::uint32_t ranks = ReadCount(kMaxWorldSize, in);
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    step.fingerprints.push_back(ReadFingerprint(in));
  }
  step.batch = ReadBatch(config, in.ReadLong(), in);
  return step;
}

void AddBackward(const GroupBackward& backward, ByteWriter& out) {
  for (const Digest& digest : backward.digests) AddDigest(digest, out);
  const kernel::Gradients& gradients = backward.gradients;
  out.AddAll(gradients.dgamma);
  out.AddAll(gradients.dbeta);
  out.AddAll(gradients.mean_dy);
  out.AddAll(gradients.mean_dy_lo);
  out.AddAll(gradients.k);
}

GroupBackward ReadBackward(std::uint32_t ranks, const SessionConfig& config,
                           ByteReader& in) {
  const auto channels = static_cast<std::uint64_t>(config.channels);
  GroupBackward backward;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    backward.digests.push_back(ReadDigest(in));
  }
  kernel::Gradients& gradients = backward.gradients;
  gradients.dgamma = in.ReadAll<double>(channels);
  gradients.dbeta = in.ReadAll<double>(channels);
  gradients.mean_dy = in.ReadAll<double>(channels);
  gradients.mean_dy_lo = in.ReadAll<double>(channels);
  gradients.k = in.ReadAll<double>(channels);
  return backward;
}

}  // namespace batchnorm::session
