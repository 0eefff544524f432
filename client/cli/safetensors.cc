#include "client/cli/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
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

std::optional<IntegerType> IntegerTypeOfType(std::string_view name) {
  if (name == "U8") return IntegerType::kU8;
  if (name == "I64") return IntegerType::kI64;
  return std::nullopt;
}

std::string_view TypeName(IntegerType type) {
  return type == IntegerType::kU8 ? "U8" : "I64";
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

absl::Status WrongSize(const SafetensorsEntry& entry) {
  return MalformedSafetensors(fmt::format(
      "tensor '{}' has {} bytes, which are not shape {} of {}", entry.name,
      entry.end - entry.begin, ShapeText(entry.shape), entry.dtype));
}

std::string BytesOf(const SafetensorsEntry& entry, std::string_view elements) {
  return std::string(elements.substr(entry.begin, entry.end - entry.begin));
}

absl::StatusOr<Tensor> ReadTensor(const SafetensorsEntry& entry,
                                  std::string_view elements) {
  const auto dtype = DtypeOfType(entry.dtype);
  if (!dtype) return UnusableType(entry);
  Tensor tensor{*dtype, entry.shape, BytesOf(entry, elements)};
  if (!IsComplete(tensor)) return WrongSize(entry);
  return tensor;
}

absl::StatusOr<IntegerArray> ReadIntegers(const SafetensorsEntry& entry,
                                          std::string_view elements) {
  const auto type = IntegerTypeOfType(entry.dtype);
  if (!type) {
    return ToStatus({fmt::format("tensor '{}' has elements of type '{}'",
                                 entry.name, entry.dtype),
                     "whole numbers are I64", "save it as torch.int64"});
  }
  const std::uint64_t size = entry.end - entry.begin;
  const std::uint64_t width = BytesPerElement(*type);
  const auto count = ElementCount(entry.shape);
  if (!count || size % width != 0 ||
      static_cast<std::uint64_t>(*count) != size / width) {
    return WrongSize(entry);
  }
  return IntegerArray{*type, entry.shape, BytesOf(entry, elements)};
}

absl::Status ReadMember(const SafetensorsEntry& entry,
                        std::string_view elements, const ReadOptions& options,
                        Archive& archive) {
  if (!Wants(options, entry.name)) {
    archive.skipped.push_back(entry.name);
    return absl::OkStatus();
  }
  if (WantsIntegers(options, entry.name)) {
    auto integers = ReadIntegers(entry, elements);
    if (!integers.ok()) return integers.status();
    archive.integers.push_back({entry.name, *std::move(integers)});
    return absl::OkStatus();
  }
  auto tensor = ReadTensor(entry, elements);
  if (!tensor.ok()) return tensor.status();
  archive.tensors.push_back({entry.name, *std::move(tensor)});
  return absl::OkStatus();
}

// A tensor or an integer array, as it is about to be laid out.
struct Item {
  std::string_view name;
  std::string_view type;
  std::size_t element_size;
  std::span<const std::int64_t> shape;
  std::string_view data;
};

Item ItemOf(const NamedTensor& named) {
  const Tensor& tensor = named.tensor;
  return {named.name, TypeName(tensor.dtype), BytesPerElement(tensor.dtype),
          tensor.shape, tensor.data};
}

Item ItemOf(const NamedIntegers& named) {
  const IntegerArray& array = named.array;
  return {named.name, TypeName(array.type), BytesPerElement(array.type),
          array.shape, array.data};
}

std::string HeaderOf(const std::vector<Item>& items,
                     const std::map<std::string, std::string>& metadata) {
  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t position = 0;
  for (const Item& item : items) {
    const std::size_t end = position + item.data.size();
    auto& entry = header[std::string(item.name)];
    entry["dtype"] = item.type;
    entry["shape"] = item.shape;
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

std::string Encode(std::vector<Item> items,
                   const std::map<std::string, std::string>& metadata) {
  std::ranges::stable_sort(items, std::ranges::greater(), &Item::element_size);
  const std::string header = HeaderOf(items, metadata);
  std::string bytes = LittleEndianBytes(header.size()) + header;
  for (const Item& item : items) bytes += item.data;
  return bytes;
}

}  // namespace

absl::StatusOr<Archive> ParseSafetensors(std::string_view bytes,
                                         const ReadOptions& options) {
  const auto parts = Split(bytes);
  if (!parts.ok()) return parts.status();
  auto header = ParseSafetensorsHeader(parts->header);
  if (!header.ok()) return header.status();
  absl::Status sound = CheckCoverage(header->entries, parts->elements.size());
  if (!sound.ok()) return sound;
  Archive archive;
  archive.metadata = std::move(header->metadata);
  for (const SafetensorsEntry& entry : header->entries) {
    absl::Status read = ReadMember(entry, parts->elements, options, archive);
    if (!read.ok()) return read;
  }
  return archive;
}

absl::StatusOr<std::string> EncodeSafetensors(
    std::span<const NamedTensor> tensors) {
  std::vector<Item> items;
  items.reserve(tensors.size());
  for (const NamedTensor& named : tensors) items.push_back(ItemOf(named));
  return Encode(std::move(items), {});
}

absl::StatusOr<std::string> EncodeSafetensors(const Archive& archive) {
  std::vector<Item> items;
  items.reserve(archive.tensors.size() + archive.integers.size());
  for (const auto& named : archive.tensors) items.push_back(ItemOf(named));
  for (const auto& named : archive.integers) items.push_back(ItemOf(named));
  return Encode(std::move(items), archive.metadata);
}

}  // namespace batchnorm::cli
