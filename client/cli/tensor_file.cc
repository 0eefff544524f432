#include "client/cli/tensor_file.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "client/cli/csv.h"
#include "client/cli/diagnosis.h"
#include "client/cli/npy.h"
#include "client/cli/npz.h"
#include "client/cli/safetensors.h"

namespace batchnorm::cli {
namespace {

constexpr char kFormats[] = "formats are .npy, .npz, .safetensors and .csv";

struct Suffix {
  std::string_view text;
  FileFormat format;
};
constexpr Suffix kSuffixes[] = {
    {".npy", FileFormat::kNpy},
    {".npz", FileFormat::kNpz},
    {".safetensors", FileFormat::kSafetensors},
    {".csv", FileFormat::kCsv},
};

// A file without names as an archive of one tensor without a name.
absl::StatusOr<Archive> Alone(absl::StatusOr<Tensor> tensor) {
  if (!tensor.ok()) return tensor.status();
  Archive archive;
  archive.tensors.push_back({"", *std::move(tensor)});
  return archive;
}

absl::StatusOr<Archive> Parse(FileFormat format, std::string_view bytes,
                              const ReadOptions& options) {
  switch (format) {
    case FileFormat::kNpy:
      return Alone(ParseNpy(bytes, options.dtype));
    case FileFormat::kNpz:
      return ParseNpz(bytes, options);
    case FileFormat::kSafetensors:
      return ParseSafetensors(bytes, options);
    case FileFormat::kCsv:
      return Alone(ParseCsv(bytes, options.dtype.value_or(Dtype::kF64)));
  }
  return ToStatus({"a format without a reader", "", ""});
}

absl::StatusOr<std::string> Encode(FileFormat format,
                                   std::span<const NamedTensor> tensors) {
  switch (format) {
    case FileFormat::kNpy:
      return EncodeNpy(tensors.front().tensor);
    case FileFormat::kNpz:
      return EncodeNpz(tensors);
    case FileFormat::kSafetensors:
      return EncodeSafetensors(tensors);
    case FileFormat::kCsv:
      return EncodeCsv(tensors.front().tensor);
  }
  return ToStatus({"a format without a writer", "", ""});
}

std::string NamesIn(std::span<const std::string> names) {
  if (names.empty()) return "it is empty";
  return fmt::format("it has {}", fmt::join(names, ", "));
}

absl::Status Ambiguous(const FileReference& reference,
                       std::span<const std::string> names) {
  return ToStatus({fmt::format("{}: which member is meant?", reference.path),
                   NamesIn(names),
                   fmt::format("name one: {}:NAME", reference.path)});
}

// The members that `reference` means: all that are wanted, or the named one.
absl::StatusOr<Archive> ParseMember(FileFormat format, std::string_view bytes,
                                    const FileReference& reference,
                                    ReadOptions options) {
  const std::string& member = reference.member;
  if (!member.empty()) {
    options.wanted = [&](std::string_view name) { return name == member; };
  }
  auto archive = Parse(format, bytes, options);
  if (!archive.ok()) return Of(reference.path, archive.status());
  if (member.empty() || !archive->tensors.empty()) return archive;
  return ToStatus({fmt::format("{}: no member '{}'", reference.path, member),
                   NamesIn(archive->skipped), ""});
}

absl::StatusOr<std::vector<std::string>> MemberNames(
    FileFormat format, std::string_view bytes, const FileReference& reference) {
  ReadOptions none;
  none.wanted = [](std::string_view) { return false; };
  auto archive = Parse(format, bytes, none);
  if (!archive.ok()) return Of(reference.path, archive.status());
  return std::move(archive->skipped);
}

// The index of the member that is meant where none is named.
std::optional<std::size_t> Choose(
    const std::vector<std::string>& names,
    const std::function<bool(std::string_view)>& fits) {
  if (names.size() == 1) return 0;
  std::optional<std::size_t> chosen;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!fits(names[i])) continue;
    if (chosen) return std::nullopt;
    chosen = i;
  }
  return chosen;
}

}  // namespace

absl::StatusOr<FileFormat> FormatOf(std::string_view path, PipeFormat pipe) {
  if (path == "-") {
    return pipe == PipeFormat::kCsv ? FileFormat::kCsv : FileFormat::kNpy;
  }
  for (const Suffix& suffix : kSuffixes) {
    if (path.ends_with(suffix.text)) return suffix.format;
  }
  return ToStatus({fmt::format("{}: the suffix names no known format", path),
                   kFormats, "rename the file, or convert it"});
}

bool HoldsManyTensors(FileFormat format) {
  return format == FileFormat::kNpz || format == FileFormat::kSafetensors;
}

FileReference ParseReference(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos) {
    const std::string_view path = text.substr(0, colon);
    if (path.ends_with(".npz") || path.ends_with(".safetensors")) {
      return {std::string(path), std::string(text.substr(colon + 1))};
    }
  }
  return {std::string(text), ""};
}

TensorReader::TensorReader(ReadOptions options)
    : options_(std::move(options)) {}

absl::StatusOr<std::string> TensorReader::ReadBytes(const std::string& path) {
  if (path == "-" && std::exchange(standard_input_taken_, true)) {
    return ToStatus({"standard input is named twice",
                     "it holds one tensor and is read once",
                     "put the other tensor into a file"});
  }
  return ReadFile(path);
}

absl::StatusOr<Archive> TensorReader::ReadAll(const FileReference& reference,
                                              Filter wanted) {
  const auto format = FormatOf(reference.path, options_.input_format);
  if (!format.ok()) return format.status();
  const auto bytes = ReadBytes(reference.path);
  if (!bytes.ok()) return bytes.status();
  ReadOptions options = options_;
  options.wanted = std::move(wanted);
  return ParseMember(*format, *bytes, reference, std::move(options));
}

absl::StatusOr<Tensor> TensorReader::ReadOne(const std::string& text,
                                             const Filter& fits) {
  FileReference reference = ParseReference(text);
  const auto format = FormatOf(reference.path, options_.input_format);
  if (!format.ok()) return format.status();
  const auto bytes = ReadBytes(reference.path);
  if (!bytes.ok()) return bytes.status();
  if (HoldsManyTensors(*format) && reference.member.empty()) {
    const auto names = MemberNames(*format, *bytes, reference);
    if (!names.ok()) return names.status();
    const auto chosen = Choose(*names, fits);
    if (!chosen) return Ambiguous(reference, *names);
    reference.member = (*names)[*chosen];
  }
  auto archive = ParseMember(*format, *bytes, reference, options_);
  if (!archive.ok()) return archive.status();
  return std::move(archive->tensors.front().tensor);
}

absl::Status CheckDestination(const std::string& path, const Contents& contents,
                              PipeFormat pipe) {
  const auto format = FormatOf(path, pipe);
  if (!format.ok()) return format.status();
  if (contents.tensors > 1 && !HoldsManyTensors(*format)) {
    return ToStatus(
        {fmt::format("{}: {} results, and room for one", path,
                     contents.tensors),
         "npy and csv hold one tensor",
         "write .npz or .safetensors, or choose one with --outputs"});
  }
  const bool numpy = *format == FileFormat::kNpy || *format == FileFormat::kNpz;
  if (contents.dtype == Dtype::kBF16 && numpy) {
    return ToStatus({fmt::format("{}: bf16 cannot be written as npy", path),
                     "NumPy has no name for it and reads it as raw bytes",
                     "write a .safetensors file"});
  }
  return absl::OkStatus();
}

absl::Status WriteTensors(OutputFile& file,
                          std::span<const NamedTensor> tensors,
                          PipeFormat pipe) {
  const auto format = FormatOf(file.path(), pipe);
  if (!format.ok()) return format.status();
  const auto bytes = Encode(*format, tensors);
  if (!bytes.ok()) return Of(file.path(), bytes.status());
  return file.Commit(*bytes);
}

}  // namespace batchnorm::cli
