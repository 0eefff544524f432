#include "server/session/session_row.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/group_row.h"
#include "server/session/row_bytes.h"
#include "server/session/session_name.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::uint8_t kGroupFormat = 2;  // of a body, with steps of groups
constexpr std::uint32_t kPartsOfStep = 1 + kMaxPasses;
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
absl::StatusOr<std::string_view> Unsealed(std::string_view name,
                                          storage::Version version,
                                          std::string_view bytes,
                                          std::uint8_t newest) {
  if (bytes.size() < 1 + kChecksumBytes) return SessionDamaged(name);
  const std::string_view content =
      bytes.substr(0, bytes.size() - kChecksumBytes);
  const auto checksum =
      ByteReader(bytes.substr(content.size())).Read<std::uint64_t>();
  if (checksum == ChecksumOf(content, name, version)) return content;
  const auto format = static_cast<std::uint8_t>(bytes.front());
  if (format > newest) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the session ", Quoted(NameOf(name)),
                                  " was stored by a newer version"),
                     {.reason = "NEWER_FORMAT"});
  }
  return SessionDamaged(name);
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

// A session that never was a group has rows of the first format.
std::uint8_t FormatOf(const std::vector<StoredStep>& steps) {
  const bool of_group =
      std::any_of(steps.begin(), steps.end(),
                  [](const StoredStep& step) { return step.group != nullptr; });
  return of_group ? kGroupFormat : kFormat;
}

// Which passes a step has; the parts have what they are.
void AddPasses(const GroupStepPtr& step, ByteWriter& out) {
  out.Add(static_cast<std::uint8_t>(step != nullptr));
  if (step == nullptr) return;
  out.Add(static_cast<std::uint8_t>(step->passes.size()));
  for (const auto& [pass, backward] : step->passes) out.Add(pass);
}

void AddSteps(const std::vector<StoredStep>& steps, ByteWriter& out) {
  out.Add(static_cast<std::uint32_t>(steps.size()));
  for (const StoredStep& step : steps) AddFingerprint(step.fingerprint, out);
  if (FormatOf(steps) == kFormat) return;
  for (const StoredStep& step : steps) AddPasses(step.group, out);
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

// ---- Parts

// Of a step's Forward, or with pass + 1 of one of its Backwards.
std::uint32_t PartNumber(const RowHeader& header, std::uint64_t step,
                         std::uint32_t of_step) {
  const auto slot =
      static_cast<std::uint32_t>(step % header.config.step_window);
  return slot * kPartsOfStep + of_step;
}

ByteWriter NewPart(std::uint64_t step) {
  ByteWriter out;
  out.Add(kFormat);
  out.Add(step);
  return out;
}

// Those of the steps up to last_step that `lasting` does not have.
std::vector<storage::Part> EncodeParts(const RowHeader& header,
                                       const std::vector<StoredStep>& steps,
                                       std::string_view name,
                                       std::uint64_t incarnation,
                                       std::uint64_t lasting) {
  std::vector<storage::Part> parts;
  const auto add = [&](std::uint32_t number, ByteWriter bytes) {
    parts.push_back(
        {number, Sealed(std::move(bytes), name, {incarnation, number})});
  };
  std::uint64_t step = header.last_step - steps.size();
  for (const StoredStep& stored : steps) {
    ++step;
    if (stored.group == nullptr) continue;
    if (stored.group->change > lasting) {
      ByteWriter out = NewPart(step);
      AddForward(*stored.group, out);
      add(PartNumber(header, step, 0), std::move(out));
    }
    for (const auto& [pass, backward] : stored.group->passes) {
      if (backward->change <= lasting) continue;
      ByteWriter out = NewPart(step);
      AddBackward(*backward, out);
      add(PartNumber(header, step, 1 + pass), std::move(out));
    }
  }
  return parts;
}

// What is in a part of a step. Not ok() if there is no such part.
class PartReader {
 public:
  PartReader(const storage::Row& row, const RowHeader& header,
             std::uint64_t step, std::uint32_t of_step)
      : in_(Content(row, header, step, of_step)) {
    if (in_.Read<std::uint8_t>() != kFormat) in_.Fail();
    if (in_.Read<std::uint64_t>() != step) in_.Fail();
  }

  ByteReader& in() { return in_; }

 private:
  static std::string_view Content(const storage::Row& row,
                                  const RowHeader& header, std::uint64_t step,
                                  std::uint32_t of_step) {
    const std::uint32_t number = PartNumber(header, step, of_step);
    const auto part = std::find_if(
        row.parts.begin(), row.parts.end(),
        [number](const storage::Part& each) { return each.number == number; });
    if (part == row.parts.end()) return {};
    return Unsealed(row.key, {row.version.incarnation, number}, part->bytes,
                    kFormat)
        .value_or(std::string_view());
  }

  ByteReader in_;
};

// Null, with `in` not ok(), if a part is missing or damaged.
GroupStepPtr ReadGroupStep(const storage::Row& row, const RowHeader& header,
                           std::uint64_t step, ByteReader& in) {
  PartReader forward(row, header, step, 0);
  GroupStep group = ReadForward(header.config, forward.in());
  bool whole = forward.in().AtEnd();
  const auto passes = in.Read<std::uint8_t>();
  for (std::uint8_t i = 0; i < passes && whole; ++i) {
    const auto pass = in.Read<std::uint32_t>();
    PartReader part(row, header, step, 1 + pass);
    group.passes[pass] = std::make_shared<const GroupBackward>(
        ReadBackward(group.world_size(), header.config, part.in()));
    whole = pass < kMaxPasses && part.in().AtEnd();
  }
  if (!whole) in.Fail();
  return whole ? std::make_shared<const GroupStep>(std::move(group)) : nullptr;
}

std::vector<StoredStep> ReadSteps(std::uint8_t format, const storage::Row& row,
                                  const RowHeader& header, ByteReader& in) {
  std::vector<StoredStep> steps;
  const auto count = in.Read<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    steps.push_back({ReadFingerprint(in), nullptr});
  }
  if (format == kFormat) return steps;
  std::uint64_t step = header.last_step - steps.size();
  for (StoredStep& stored : steps) {
    ++step;
    if (in.Read<std::uint8_t>() == 0) continue;
    stored.group = ReadGroupStep(row, header, step, in);
  }
  return steps;
}

}  // namespace

storage::Write EncodeRow(const RowHeader& header,
                         const RunningStatistics& running,
                         const std::vector<StoredStep>& steps,
                         const Writers& writers, std::string_view name,
                         storage::Version expected, std::uint64_t lasting) {
  const storage::Version version = {expected.incarnation, expected.number + 1};
  storage::Write write;
  write.key = std::string(name);
  write.expected = expected;
  write.header = EncodeHeader(header, name, version);
  ByteWriter out;
  out.Add(FormatOf(steps));
  out.Add(running.batch_count);
  out.AddAll(running.mean);
  out.AddAll(running.var);
  AddSteps(steps, out);
  AddWriters(writers, out);
  out.Add(SealOf(write.header));
  write.body = Sealed(std::move(out), name, version);
  write.parts = EncodeParts(header, steps, name, expected.incarnation, lasting);
  return write;
}

absl::StatusOr<RowHeader> DecodeHeader(const storage::Row& row) {
  const absl::StatusOr<std::string_view> content =
      Unsealed(row.key, row.version, row.header, kFormat);
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
  const absl::StatusOr<std::string_view> content =
      Unsealed(row.key, row.version, row.body, kGroupFormat);
  if (!content.ok()) return content.status();
  SessionRow session;
  session.header = *std::move(header);
  const auto channels =
      static_cast<std::uint64_t>(session.header.config.channels);
  ByteReader in(*content);
  const auto format = in.Read<std::uint8_t>();
  session.running.batch_count = in.Read<std::int64_t>();
  session.running.mean = in.ReadAll<double>(channels);
  session.running.var = in.ReadAll<double>(channels);
  session.steps = ReadSteps(format, row, session.header, in);
  session.writers = ReadWriters(in);
  const bool is_of_header = in.Read<std::uint64_t>() == SealOf(row.header);
  const std::uint64_t most = std::min<std::uint64_t>(
      session.header.last_step, session.header.config.step_window);
  if (!in.AtEnd() || !is_of_header || session.steps.size() > most) {
    return SessionDamaged(row.key);
  }
  return session;
}

absl::Status SessionDamaged(std::string_view name) {
  return MakeError(
      absl::StatusCode::kDataLoss,
      absl::StrCat("what is stored of the session ", Quoted(NameOf(name)),
                   " is damaged; other sessions are not affected"),
      {.reason = "SESSION_DAMAGED",
       .metadata = {{"session", std::string(NameOf(name))}}});
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
