#include "client/cli/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "client/cli/command.h"
#include "client/cli/diagnosis.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

constexpr char kGroup[] = "Inputs";

// "--running-mean" of kRunningMean.
std::string FlagOf(Role role) {
  std::string name(NameOf(role));
  std::ranges::replace(name, '_', '-');
  return "--" + name;
}

std::string MeaningOf(Role role) {
  switch (role) {
    case Role::kX:
      return "the batch";
    case Role::kGamma:
      return "scale (ones)";
    case Role::kBeta:
      return "shift (zeros)";
    case Role::kDy:
      return "gradient of the loss by y";
    case Role::kRunningMean:
    case Role::kRunningVar:
      return "before the batch";
    default:
      return "";
  }
}

bool Contains(std::span<const Role> roles, Role role) {
  return std::ranges::find(roles, role) != roles.end();
}

// Whether an archive's member is a role that is not given by its own flag.
bool IsWantedMember(std::string_view name, std::span<const Role> roles,
                    const InputOptions& options) {
  const auto role = RoleOf(name);
  if (!role || !Contains(roles, *role)) return false;
  const auto file = options.files.find(*role);
  return file == options.files.end() || file->second.empty();
}

absl::StatusOr<TensorsByRole> ReadArchive(const InputOptions& options,
                                          std::span<const Role> roles,
                                          TensorReader& reader) {
  auto archive = reader.ReadAll(ParseReference(options.archive),
                                [&](std::string_view name) {
                                  return IsWantedMember(name, roles, options);
                                });
  if (!archive.ok()) return archive.status();
  return ByRole(*std::move(archive), options.archive);
}

}  // namespace

void AddInputOptions(CLI::App& command, std::span<const Role> roles,
                     InputOptions& options) {
  for (const Role role : roles) {
    command.add_option(FlagOf(role), options.files[role], MeaningOf(role))
        ->type_name("FILE")
        ->group(kGroup);
  }
  command
      .add_option("--inputs", options.archive,
                  "archive with any of these by name")
      ->type_name("FILE")
      ->group(kGroup);
  command
      .add_option("--dtype", options.dtype,
                  "type of csv numbers and of NumPy's unnamed V2")
      ->check(CLI::IsMember({"f16", "bf16", "f32", "f64"}))
      ->envname(EnvironmentName("--dtype"))
      ->group(kGroup);
  command
      .add_option("--input-format", options.input_format,
                  "of standard input (-)")
      ->check(CLI::IsMember({"npy", "csv"}))
      ->envname(EnvironmentName("--input-format"))
      ->capture_default_str()
      ->group(kGroup);
}

ReadOptions ReadOptionsOf(const InputOptions& options) {
  ReadOptions result;
  result.dtype = DtypeOfName(options.dtype);
  if (options.input_format == "csv") result.input_format = PipeFormat::kCsv;
  return result;
}

absl::StatusOr<TensorsByRole> ReadInputs(const InputOptions& options,
                                         std::span<const Role> roles,
                                         TensorReader& reader) {
  TensorsByRole tensors;
  if (!options.archive.empty()) {
    auto archive = ReadArchive(options, roles, reader);
    if (!archive.ok()) return archive.status();
    tensors = *std::move(archive);
  }
  for (const auto& [role, file] : options.files) {
    if (file.empty()) continue;
    const auto fits = [&](std::string_view name) {
      return RoleOf(name) == role;
    };
    auto tensor = reader.ReadOne(file, fits);
    if (!tensor.ok()) return tensor.status();
    tensors[role] = *std::move(tensor);
  }
  return tensors;
}

absl::StatusOr<TensorsByRole> ByRole(Archive archive,
                                     const std::string& where) {
  TensorsByRole tensors;
  for (NamedTensor& named : archive.tensors) {
    const auto role = RoleOf(named.name);
    if (!role) continue;
    if (tensors.contains(*role)) {
      return ToStatus(
          {fmt::format("{}: two members are {}", where, NameOf(*role)),
           fmt::format("'{}' is another name for it", named.name),
           "leave one out, or name the files one by one"});
    }
    tensors.emplace(*role, std::move(named.tensor));
  }
  return tensors;
}

std::optional<Tensor> Take(TensorsByRole& tensors, Role role) {
  auto node = tensors.extract(role);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

absl::StatusOr<Tensor> TakeX(TensorsByRole& tensors) {
  auto x = Take(tensors, Role::kX);
  if (x) return *std::move(x);
  return ToStatus({"no x", "every result is computed from the batch",
                   "name its file with --x, or an archive with --inputs"});
}

absl::StatusOr<std::optional<client::RunningStatistics>> TakeRunningStatistics(
    TensorsByRole& tensors, std::int64_t batch_count) {
  const auto mean = Take(tensors, Role::kRunningMean);
  const auto var = Take(tensors, Role::kRunningVar);
  if (!mean && !var) return std::nullopt;
  if (!mean || !var) {
    return ToStatus(
        {fmt::format("{} is missing", mean ? "running_var" : "running_mean"),
         "running statistics are a mean and a variance", ""});
  }
  return client::RunningStatistics{ToDoubles(*mean), ToDoubles(*var),
                                   batch_count};
}

}  // namespace batchnorm::cli
