#include "client/cli/snapshot_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/cli/config_json.h"
#include "client/cli/diagnosis.h"
#include "client/cli/npz.h"
#include "client/cli/safetensors.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

using Facts = std::map<std::string, std::string>;

constexpr char kMean[] = "running_mean";
constexpr char kVar[] = "running_var";
constexpr char kCount[] = "num_batches_tracked";
constexpr char kFactsMember[] = "batchnormd";  // of an .npz file

constexpr char kFormatKey[] = "batchnormd.format";
constexpr char kConfigKey[] = "batchnormd.config";
constexpr char kStepKey[] = "batchnormd.last_step";
constexpr char kChecksumKey[] = "batchnormd.checksum";
constexpr std::uint32_t kFormat = 1;

absl::Status Damaged(const std::string& what) {
  return ToStatus({what,
                   "a session's file has running_mean, running_var and "
                   "num_batches_tracked of one size",
                   "the file was changed or damaged: export it again"});
}

// ---- Writing

IntegerArray Scalar(std::int64_t value) {
  IntegerArray array;
  array.data.resize(sizeof(value));
  std::memcpy(array.data.data(), &value, sizeof(value));
  return array;
}

IntegerArray Bytes(std::string text) {
  return {.type = IntegerType::kU8,
          .shape = {static_cast<std::int64_t>(text.size())},
          .data = std::move(text)};
}

NamedTensor Vector(const char* name, const std::vector<double>& values) {
  return {name, MakeTensor(std::span<const double>(values),
                           {static_cast<std::int64_t>(values.size())})};
}

Facts FactsOf(const client::SessionSnapshot& snapshot) {
  return {{kFormatKey, std::to_string(snapshot.format_version)},
          {kConfigKey, JsonOf(snapshot.config).dump()},
          {kStepKey, std::to_string(snapshot.last_step)},
          {kChecksumKey, fmt::format("{:016x}", snapshot.checksum)}};
}

// ---- Reading

bool EndsLayer(std::string_view name, std::string_view ending) {
  return name.ends_with(ending) &&
         (name.size() == ending.size() ||
          name[name.size() - ending.size() - 1] == '.');
}

bool IsInteger(std::string_view name) {
  return EndsLayer(name, kCount) || name == kFactsMember;
}

bool IsOfSession(std::string_view name) {
  return EndsLayer(name, kMean) || EndsLayer(name, kVar) || IsInteger(name);
}

absl::StatusOr<Archive> ParseArchive(std::string_view bytes,
                                     FileFormat format) {
  const ReadOptions options = {.wanted = IsOfSession, .integers = IsInteger};
  return format == FileFormat::kNpz ? ParseNpz(bytes, options)
                                    : ParseSafetensors(bytes, options);
}

const IntegerArray* FindIntegers(const Archive& archive,
                                 const std::string& name) {
  for (const NamedIntegers& named : archive.integers) {
    if (named.name == name) return &named.array;
  }
  return nullptr;
}

absl::StatusOr<Facts> FactsOf(const Archive& archive) {
  const IntegerArray* const member = FindIntegers(archive, kFactsMember);
  if (member == nullptr) return archive.metadata;
  try {
    return nlohmann::json::parse(member->data).get<Facts>();
  } catch (const nlohmann::json::exception& error) {
    return Damaged(fmt::format("member 'batchnormd': {}", error.what()));
  }
}

std::vector<std::string> Layers(const Archive& archive) {
  std::vector<std::string> layers;
  for (const NamedTensor& named : archive.tensors) {
    if (!EndsLayer(named.name, kMean)) continue;
    layers.push_back(
        named.name.substr(0, named.name.size() - std::strlen(kMean)));
  }
  return layers;
}

absl::StatusOr<std::string> ChooseLayer(const Archive& archive,
                                        std::string_view prefix) {
  const std::vector<std::string> layers = Layers(archive);
  if (layers.empty()) return Damaged("no running_mean in the file");
  if (prefix.empty() && layers.size() == 1) return layers.front();
  for (const std::string& layer : layers) {
    const std::string with_dot = std::string(prefix) + ".";
    if (!prefix.empty() && (layer == prefix || layer == with_dot)) return layer;
  }
  return ToStatus(
      {prefix.empty()
           ? fmt::format("{} batch-norm layers in the file", layers.size())
           : fmt::format("no batch-norm layer '{}' in the file", prefix),
       fmt::format("it has {}", fmt::join(layers, ", ")),
       fmt::format("name one: --prefix {}", layers.front())});
}

absl::StatusOr<std::vector<double>> TakeVector(const Archive& archive,
                                               const std::string& name) {
  for (const NamedTensor& named : archive.tensors) {
    if (named.name != name) continue;
    if (named.tensor.shape.size() != 1) {
      return Damaged(fmt::format("{} has {} dimensions, expected 1", name,
                                 named.tensor.shape.size()));
    }
    return ToDoubles(named.tensor);
  }
  return Damaged(fmt::format("no {} in the file", name));
}

absl::StatusOr<std::int64_t> TakeCount(const Archive& archive,
                                       const std::string& name,
                                       std::vector<std::string>& notes) {
  const IntegerArray* const array = FindIntegers(archive, name);
  if (array == nullptr) {
    notes.push_back(name + " is not in the file: taken as 0");
    return 0;
  }
  std::int64_t count = 0;
  if (array->data.size() != sizeof(count)) {
    return Damaged(fmt::format("{} is not one number", name));
  }
  std::memcpy(&count, array->data.data(), sizeof(count));
  if (count >= 0) return count;
  return Damaged(fmt::format("{} is {}, expected at least 0", name, count));
}

// A fact that has to be a number.
absl::StatusOr<std::uint64_t> NumberOf(const Facts& facts, const char* key,
                                       int base) {
  const auto found = facts.find(key);
  if (found == facts.end()) return Damaged(fmt::format("no {} in it", key));
  std::uint64_t number = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto parsed = std::from_chars(found->second.data(), end, number, base);
  if (parsed.ec == std::errc() && parsed.ptr == end) return number;
  return Damaged(
      fmt::format("{} is '{}', expected a number", key, found->second));
}

absl::Status CheckFormat(const Facts& facts) {
  const auto format = NumberOf(facts, kFormatKey, 10);
  if (!format.ok()) return format.status();
  if (*format <= kFormat) return absl::OkStatus();
  return ToStatus({fmt::format("the file has format {}", *format),
                   fmt::format("this bn reads formats up to {}", kFormat),
                   "a newer version wrote it: use that one"});
}

absl::Status TakeFacts(const Facts& facts, client::SessionSnapshot& snapshot) {
  if (absl::Status format = CheckFormat(facts); !format.ok()) return format;
  const auto config = facts.find(kConfigKey);
  if (config == facts.end()) return Damaged("no batchnormd.config in it");
  auto parsed = ParseConfig(config->second);
  if (!parsed.ok()) return parsed.status();
  const auto step = NumberOf(facts, kStepKey, 10);
  if (!step.ok()) return step.status();
  const auto checksum = NumberOf(facts, kChecksumKey, 16);
  if (!checksum.ok()) return checksum.status();
  snapshot.config = *std::move(parsed);
  snapshot.last_step = *step;
  snapshot.checksum = *checksum;
  return absl::OkStatus();
}

absl::StatusOr<client::RunningStatistics> TakeStatistics(
    const Archive& archive, const std::string& layer,
    std::vector<std::string>& notes) {
  auto mean = TakeVector(archive, layer + kMean);
  if (!mean.ok()) return mean.status();
  auto var = TakeVector(archive, layer + kVar);
  if (!var.ok()) return var.status();
  const auto count = TakeCount(archive, layer + kCount, notes);
  if (!count.ok()) return count.status();
  if (mean->size() != var->size()) {
    return Damaged(
        fmt::format("{} means and {} variances", mean->size(), var->size()));
  }
  return client::RunningStatistics{
      .mean = *std::move(mean), .var = *std::move(var), .batch_count = *count};
}

}  // namespace

absl::StatusOr<FileFormat> SnapshotFormat(std::string_view path) {
  if (path == "-") return FileFormat::kSafetensors;
  auto format = FormatOf(path, PipeFormat::kNpy);
  if (!format.ok() || HoldsManyTensors(*format)) return format;
  return ToStatus({fmt::format("{} cannot hold a session", path),
                   "it takes several tensors",
                   "write a .safetensors or an .npz file"});
}

absl::StatusOr<std::string> EncodeSnapshot(
    const client::SessionSnapshot& snapshot, FileFormat format) {
  const client::RunningStatistics& running = snapshot.running_statistics;
  Archive archive;
  archive.tensors = {Vector(kMean, running.mean), Vector(kVar, running.var)};
  archive.integers = {{kCount, Scalar(running.batch_count)}};
  const Facts facts = FactsOf(snapshot);
  if (format == FileFormat::kSafetensors) {
    archive.metadata = facts;
    return EncodeSafetensors(archive);
  }
  archive.integers.push_back(
      {kFactsMember, Bytes(nlohmann::json(facts).dump())});
  return EncodeNpz(archive);
}

absl::StatusOr<LoadedSnapshot> ParseSnapshot(std::string_view bytes,
                                             FileFormat format,
                                             std::string_view prefix) {
  const auto archive = ParseArchive(bytes, format);
  if (!archive.ok()) return archive.status();
  const auto facts = FactsOf(*archive);
  if (!facts.ok()) return facts.status();
  LoadedSnapshot loaded;
  loaded.is_ours = facts->contains(kFormatKey);
  if (loaded.is_ours) {
    absl::Status taken = TakeFacts(*facts, loaded.snapshot);
    if (!taken.ok()) return taken;
  }
  const auto layer = ChooseLayer(*archive, prefix);
  if (!layer.ok()) return layer.status();
  auto statistics = TakeStatistics(*archive, *layer, loaded.notes);
  if (!statistics.ok()) return statistics.status();
  loaded.snapshot.running_statistics = *std::move(statistics);
  if (!loaded.is_ours) {
    loaded.snapshot.config.channels =
        std::ssize(loaded.snapshot.running_statistics.mean);
  }
  return loaded;
}

}  // namespace batchnorm::cli
