#include "client/cli/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "client/cli/diagnosis.h"
#include "client/cli/safetensors_header.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

constexpr std::size_t kLengthSize = 8;
constexpr std::uint64_t kMostHeader = 100'000'000;  // as the reference has it

std::optional<Dtype> DtypeOfType(std::string_view name) {
  if (name == "F16") return Dtype::kF16;
  if (name == "BF16") return Dtype::kBF16;
  if (name == "F32") return Dtype::kF32;
  if (name == "F64") return Dtype::kF64;
  return std::nullopt;
}

std::string_view TypeName(Dtype dtype) {
  constexpr std::string_view kNames[] = {"F16", "BF16", "F32", "F64"};
  return kNames[static_cast<std::size_t>(dtype)];
}

std::uint64_t LittleEndian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

struct Parts {
  std::string_view header;
  std::string_view elements;
};

absl::StatusOr<Parts> Split(std::string_view bytes) {
  if (bytes.size() < kLengthSize) {
    return MalformedSafetensors(
        fmt::format("{} bytes cannot hold a header", bytes.size()));
  }
  const std::uint64_t length = LittleEndian(bytes.substr(0, kLengthSize));
  bytes.remove_prefix(kLengthSize);
  if (length > kMostHeader) {
    return MalformedSafetensors(fmt::format(
        "a header of {} bytes, at most {} are legal", length, kMostHeader));
  }
  if (length > bytes.size()) {
    return MalformedSafetensors(fmt::format(
        "a header of {} bytes in a file with {} left", length, bytes.size()));
  }
  const auto split = static_cast<std::size_t>(length);
  return Parts{bytes.substr(0, split), bytes.substr(split)};
}

// The tensors must fill the space behind the header exactly: a gap could hide
// something, and an overlap is never meant.
absl::Status CheckCoverage(const std::vector<SafetensorsEntry>& entries,
                           std::uint64_t size) {
  std::vector<const SafetensorsEntry*> sorted;
  sorted.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t position = 0;
  for (const SafetensorsEntry* entry : sorted) {
    if (entry->begin != position || entry->end < entry->begin) {
      return MalformedSafetensors(fmt::format(
          "tensor '{}' has data_offsets [{}, {}], expected to begin at {}",
          entry->name, entry->begin, entry->end, position));
    }
    position = entry->end;
  }
  if (position == size) return absl::OkStatus();
  return MalformedSafetensors(
      fmt::format("tensors end at {}, the file has {} bytes behind its header",
                  position, size));
}

absl::Status UnusableType(const SafetensorsEntry& entry) {
  return ToStatus({fmt::format("tensor '{}' has elements of type '{}'",
                               entry.name, entry.dtype),
                   "tensors are F16, BF16, F32 or F64",
                   "convert before saving: tensor.to(torch.float32)"});
}

absl::StatusOr<Tensor> ReadTensor(const SafetensorsEntry& entry,
                                  std::string_view elements) {
  const auto dtype = DtypeOfType(entry.dtype);
  if (!dtype) return UnusableType(entry);
  const std::uint64_t size = entry.end - entry.begin;
  Tensor tensor{*dtype, entry.shape,
                std::string(elements.substr(entry.begin, size))};
  if (IsComplete(tensor)) return tensor;
  return MalformedSafetensors(
      fmt::format("tensor '{}' has {} bytes, which are not shape {} of {}",
                  entry.name, size, ShapeText(entry.shape), entry.dtype));
}

std::vector<const NamedTensor*> LargestElementsFirst(
    std::span<const NamedTensor> tensors) {
  std::vector<const NamedTensor*> sorted;
  sorted.reserve(tensors.size());
  for (const NamedTensor& named : tensors) sorted.push_back(&named);
  std::stable_sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) {
    return BytesPerElement(a->tensor.dtype) > BytesPerElement(b->tensor.dtype);
  });
  return sorted;
}

std::string HeaderOf(const std::vector<const NamedTensor*>& tensors) {
  auto header = nlohmann::ordered_json::object();
  std::size_t position = 0;
  for (const NamedTensor* named : tensors) {
    const std::size_t end = position + named->tensor.data.size();
    auto& entry = header[named->name];
    entry["dtype"] = TypeName(named->tensor.dtype);
    entry["shape"] = named->tensor.shape;
    entry["data_offsets"] = {position, end};
    position = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

std::string LittleEndianBytes(std::uint64_t value) {
  std::string bytes;
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<Archive> ParseSafetensors(std::string_view bytes,
                                         const ReadOptions& options) {
  const auto parts = Split(bytes);
  if (!parts.ok()) return parts.status();
  const auto entries = ParseSafetensorsHeader(parts->header);
  if (!entries.ok()) return entries.status();
  absl::Status sound = CheckCoverage(*entries, parts->elements.size());
  if (!sound.ok()) return sound;
  Archive archive;
  for (const SafetensorsEntry& entry : *entries) {
    if (!Wants(options, entry.name)) {
      archive.skipped.push_back(entry.name);
      continue;
    }
    auto tensor = ReadTensor(entry, parts->elements);
    if (!tensor.ok()) return tensor.status();
    archive.tensors.push_back({entry.name, *std::move(tensor)});
  }
  return archive;
}

absl::StatusOr<std::string> EncodeSafetensors(
    std::span<const NamedTensor> tensors) {
  const auto sorted = LargestElementsFirst(tensors);
  const std::string header = HeaderOf(sorted);
  std::string bytes = LittleEndianBytes(header.size()) + header;
  for (const NamedTensor* named : sorted) bytes += named->tensor.data;
  return bytes;
}

}  // namespace batchnorm::cli
