#include "server/session/session_row.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/row_bytes.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

// ---- Configuration

void AddConfig(const SessionConfig& config, ByteWriter& out) {
  const Normalization& normalization = config.normalization;
  out.Add(config.channels);
  out.Add(static_cast<std::uint8_t>(normalization.channel_axes.size()));
  out.AddAll(normalization.channel_axes);
  out.Add(normalization.eps);
  out.Add(static_cast<std::uint8_t>(normalization.new_weight.has_value()));
  out.Add(normalization.new_weight.value_or(0));
  out.Add(normalization.running_ddof);
  out.Add(static_cast<std::uint8_t>(normalization.degenerate_policy));
  out.Add(config.world_size);
  out.Add(config.step_window);
  out.Add(static_cast<std::uint8_t>(config.gradient_reduction));
  out.Add(static_cast<std::uint8_t>(config.kept_input_policy));
  out.Add(static_cast<std::uint8_t>(config.non_finite_policy));
}

template <typename Policy>
Policy ReadPolicy(ByteReader& in) {
  return static_cast<Policy>(in.Read<std::uint8_t>());
}

SessionConfig ReadConfig(ByteReader& in) {
  SessionConfig config;
  Normalization& normalization = config.normalization;
  config.channels = in.Read<std::int64_t>();
  const auto axes = in.Read<std::uint8_t>();
  normalization.channel_axes = in.ReadAll<std::int32_t>(axes);
  normalization.eps = in.Read<double>();
  const bool has_weight = in.Read<std::uint8_t>() != 0;
  const auto weight = in.Read<double>();
  normalization.new_weight =
      has_weight ? std::optional<double>(weight) : std::nullopt;
  normalization.running_ddof = in.Read<std::uint32_t>();
  normalization.degenerate_policy = ReadPolicy<DegeneratePolicy>(in);
  config.world_size = in.Read<std::uint32_t>();
  config.step_window = in.Read<std::uint32_t>();
  config.gradient_reduction = ReadPolicy<GradientReduction>(in);
  config.kept_input_policy = ReadPolicy<KeptInputPolicy>(in);
  config.non_finite_policy = ReadPolicy<NonFinitePolicy>(in);
  return config;
}

// ---- Checksums

std::uint64_t Checksum(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t ChecksumOf(std::string_view bytes, std::string_view name,
                         storage::Version version) {
  const std::uint64_t of_name = Checksum(name, version.incarnation);
  return Checksum(bytes, of_name + version.number);
}

std::string Sealed(ByteWriter out, std::string_view name,
                   storage::Version version) {
  out.Add(ChecksumOf(out.bytes(), name, version));
  return out.Take();
}

// The bytes before the checksum. The format is checked first: a newer one may
// have its checksum elsewhere.
absl::StatusOr<std::string_view> Unsealed(const storage::Row& row,
                                          std::string_view bytes) {
  if (bytes.size() < 1 + kChecksumBytes) return SessionDamaged(row.key);
  const std::string_view content =
      bytes.substr(0, bytes.size() - kChecksumBytes);
  const auto checksum =
      ByteReader(bytes.substr(content.size())).Read<std::uint64_t>();
  if (checksum == ChecksumOf(content, row.key, row.version)) return content;
  const auto format = static_cast<std::uint8_t>(bytes.front());
  if (format > kFormat) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the session ", Quoted(row.key),
                                  " was stored by a newer version"),
                     {.reason = "NEWER_FORMAT"});
  }
  return SessionDamaged(row.key);
}

std::uint64_t SealOf(std::string_view bytes) {
  return ByteReader(bytes.substr(bytes.size() - kChecksumBytes))
      .Read<std::uint64_t>();
}

// ---- Header and body

std::string EncodeHeader(const RowHeader& header, std::string_view name,
                         storage::Version version) {
  ByteWriter out;
  out.Add(kFormat);
  out.Add(static_cast<std::uint8_t>(header.is_named));
  out.Add(absl::ToUnixNanos(header.create_time));
  out.Add(absl::ToUnixNanos(header.write_time));
  out.Add(header.last_step);
  AddConfig(header.config, out);
  return Sealed(std::move(out), name, version);
}

void AddFingerprints(const std::vector<Fingerprint>& fingerprints,
                     ByteWriter& out) {
  out.Add(static_cast<std::uint32_t>(fingerprints.size()));
  for (const auto& [input, parameters] : fingerprints) {
    out.Add(input.high);
    out.Add(input.low);
    out.Add(parameters.high);
    out.Add(parameters.low);
  }
}

Digest ReadDigest(ByteReader& in) {
  Digest digest;
  digest.high = in.Read<std::uint64_t>();
  digest.low = in.Read<std::uint64_t>();
  return digest;
}

std::vector<Fingerprint> ReadFingerprints(ByteReader& in) {
  std::vector<Fingerprint> fingerprints;
  const auto count = in.Read<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    Fingerprint& fingerprint = fingerprints.emplace_back();
    fingerprint.input = ReadDigest(in);
    fingerprint.parameters = ReadDigest(in);
  }
  return fingerprints;
}

void AddWriters(const Writers& writers, ByteWriter& out) {
  out.Add(static_cast<std::uint32_t>(writers.by_rank().size()));
  for (const auto& [rank, writer] : writers.by_rank()) {
    out.Add(rank);
    out.AddShort(writer.token);
    out.AddShort(writer.nonce);
  }
}

Writers ReadWriters(ByteReader& in) {
  Writers::ByRank by_rank;
  const auto count = in.Read<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    Writer& writer = by_rank[in.Read<std::uint32_t>()];
    writer.token = in.ReadShort();
    writer.nonce = in.ReadShort();
  }
  return Writers(std::move(by_rank));
}

}  // namespace

storage::Write EncodeRow(const RowHeader& header,
                         const RunningStatistics& running,
                         const std::vector<Fingerprint>& fingerprints,
                         const Writers& writers, std::string_view name,
                         storage::Version expected) {
  const storage::Version version = {expected.incarnation, expected.number + 1};
  storage::Write write;
  write.key = std::string(name);
  write.expected = expected;
  write.header = EncodeHeader(header, name, version);
  ByteWriter out;
  out.Add(kFormat);
  out.Add(running.batch_count);
  out.AddAll(running.mean);
  out.AddAll(running.var);
  AddFingerprints(fingerprints, out);
  AddWriters(writers, out);
  out.Add(SealOf(write.header));
  write.body = Sealed(std::move(out), name, version);
  return write;
}

absl::StatusOr<RowHeader> DecodeHeader(const storage::Row& row) {
  const absl::StatusOr<std::string_view> content = Unsealed(row, row.header);
  if (!content.ok()) return content.status();
  ByteReader in(*content);
  in.Read<std::uint8_t>();
  RowHeader header;
  header.is_named = in.Read<std::uint8_t>() != 0;
  header.create_time = absl::FromUnixNanos(in.Read<std::int64_t>());
  header.write_time = absl::FromUnixNanos(in.Read<std::int64_t>());
  header.last_step = in.Read<std::uint64_t>();
  header.config = ReadConfig(in);
  if (!in.AtEnd() || !Validate(header.config).ok()) {
    return SessionDamaged(row.key);
  }
  return header;
}

absl::StatusOr<SessionRow> DecodeRow(const storage::Row& row) {
  absl::StatusOr<RowHeader> header = DecodeHeader(row);
  if (!header.ok()) return header.status();
  const absl::StatusOr<std::string_view> content = Unsealed(row, row.body);
  if (!content.ok()) return content.status();
  SessionRow session;
  session.header = *std::move(header);
  const auto channels =
      static_cast<std::uint64_t>(session.header.config.channels);
  ByteReader in(*content);
  in.Read<std::uint8_t>();
  session.running.batch_count = in.Read<std::int64_t>();
  session.running.mean = in.ReadAll<double>(channels);
  session.running.var = in.ReadAll<double>(channels);
  session.fingerprints = ReadFingerprints(in);
  session.writers = ReadWriters(in);
  const bool is_of_header = in.Read<std::uint64_t>() == SealOf(row.header);
  const std::uint64_t most = std::min<std::uint64_t>(
      session.header.last_step, session.header.config.step_window);
  if (!in.AtEnd() || !is_of_header || session.fingerprints.size() > most) {
    return SessionDamaged(row.key);
  }
  return session;
}

absl::Status SessionDamaged(std::string_view name) {
  return MakeError(absl::StatusCode::kDataLoss,
                   absl::StrCat("what is stored of the session ", Quoted(name),
                                " is damaged; other sessions are not affected"),
                   {.reason = "SESSION_DAMAGED",
                    .metadata = {{"session", std::string(name)}}});
}

std::uint64_t SnapshotChecksum(const SessionConfig& config,
                               std::uint64_t last_step,
                               const RunningStatistics& running) {
  ByteWriter out;
  AddConfig(config, out);
  out.Add(last_step);
  out.Add(running.batch_count);
  out.AddAll(running.mean);
  out.AddAll(running.var);
  return std::max<std::uint64_t>(1, Checksum(out.bytes(), kFormat));
}

}  // namespace batchnorm::session
