#include "client/cli/npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "client/cli/diagnosis.h"
#include "client/cli/npy.h"

namespace batchnorm::cli {
namespace {

constexpr std::string_view kSuffix = ".npy";
constexpr std::size_t kChunk = std::size_t{1} << 20;

// zip_discard, not zip_close: closing writes, and may fail.
struct Discard {
  void operator()(zip_t* zip) const { zip_discard(zip); }
};
struct CloseFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
struct FreeSource {
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
using Zip = std::unique_ptr<zip_t, Discard>;
using ZipFile = std::unique_ptr<zip_file_t, CloseFile>;
using ZipSource = std::unique_ptr<zip_source_t, FreeSource>;

absl::Status Damaged(std::string_view why) {
  return ToStatus({"a damaged npz archive", std::string(why),
                   "copy it again, or write it again with numpy.savez"});
}

absl::Status DamagedMember(std::string_view member, std::string_view why) {
  return Damaged(fmt::format("member '{}': {}", member, why));
}

// Takes over `source` where it succeeds.
Zip Open(ZipSource& source, int flags, zip_error_t* error) {
  Zip zip(zip_open_from_source(source.get(), flags, error));
  if (zip == nullptr) return nullptr;
  [[maybe_unused]] auto* const taken = source.release();
  return zip;
}

absl::StatusOr<Zip> OpenToRead(std::string_view bytes) {
  // libzip would take no bytes at all for an empty archive.
  if (!bytes.starts_with("PK")) {
    return ToStatus({"not a npz archive", "a zip archive begins with 'PK'",
                     "write it with numpy.savez"});
  }
  zip_error_t error;
  zip_error_init(&error);
  ZipSource source(
      zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error));
  Zip zip;
  if (source != nullptr) zip = Open(source, ZIP_RDONLY, &error);
  const std::string why = zip_error_strerror(&error);
  zip_error_fini(&error);
  if (zip == nullptr) return Damaged(why);
  return zip;
}

// One entry of the archive's directory.
struct Entry {
  zip_uint64_t index;
  std::string name;  // without .npy
};

std::optional<std::string> TensorName(std::string_view member) {
  if (!member.ends_with(kSuffix)) return std::nullopt;
  return std::string(member.substr(0, member.size() - kSuffix.size()));
}

absl::StatusOr<std::vector<Entry>> ListEntries(zip_t* zip) {
  std::vector<Entry> entries;
  std::set<std::string> seen;
  const auto count = static_cast<zip_uint64_t>(zip_get_num_entries(zip, 0));
  for (zip_uint64_t i = 0; i < count; ++i) {
    const char* const member = zip_get_name(zip, i, ZIP_FL_ENC_RAW);
    if (member == nullptr) return Damaged(zip_strerror(zip));
    const auto name = TensorName(member);
    if (!name) continue;
    if (!seen.insert(*name).second) {
      return DamagedMember(member, "two members have this name");
    }
    entries.push_back({i, *name});
  }
  return entries;
}

absl::Status TooLarge(std::string_view member, std::uint64_t most) {
  return ToStatus(
      {fmt::format("member '{}' expands too far", member),
       fmt::format("this archive may expand to {} bytes in all", most),
       "write it with numpy.savez instead of savez_compressed"});
}

// Reads until the end of the member, whatever length its directory entry
// claims: memory follows the bytes that really come.
absl::StatusOr<std::string> Expand(zip_t* zip, const Entry& entry,
                                   std::uint64_t most,
                                   std::uint64_t& expanded) {
  ZipFile file(zip_fopen_index(zip, entry.index, 0));
  if (file == nullptr) return DamagedMember(entry.name, zip_strerror(zip));
  std::string data;
  for (;;) {
    const std::size_t size = data.size();
    data.resize(size + kChunk);
    const zip_int64_t got = zip_fread(file.get(), data.data() + size, kChunk);
    if (got < 0) {
      return DamagedMember(entry.name, zip_file_strerror(file.get()));
    }
    data.resize(size + static_cast<std::size_t>(got));
    if (got == 0) return data;
    expanded += static_cast<std::uint64_t>(got);
    if (expanded > most) return TooLarge(entry.name, most);
  }
}

absl::Status Decode(const std::string& name, std::string_view data,
                    const ReadOptions& options, Archive& archive) {
  if (WantsIntegers(options, name)) {
    auto integers = ParseIntegerNpy(data);
    if (!integers.ok()) return integers.status();
    archive.integers.push_back({name, *std::move(integers)});
    return absl::OkStatus();
  }
  auto tensor = ParseNpy(data, options.dtype);
  if (!tensor.ok()) return tensor.status();
  archive.tensors.push_back({name, *std::move(tensor)});
  return absl::OkStatus();
}

absl::Status ReadMember(zip_t* zip, const Entry& entry,
                        const ReadOptions& options, std::uint64_t most,
                        std::uint64_t& expanded, Archive& archive) {
  if (!Wants(options, entry.name)) {
    archive.skipped.push_back(entry.name);
    return absl::OkStatus();
  }
  const auto data = Expand(zip, entry, most, expanded);
  if (!data.ok()) return data.status();
  absl::Status decoded = Decode(entry.name, *data, options, archive);
  if (decoded.ok()) return decoded;
  return Of(fmt::format("member '{}'", entry.name), decoded);
}

// Date and time of MS-DOS: 1 January 1980, midnight.
constexpr zip_uint16_t kDosTime = 0;
constexpr zip_uint16_t kDosDate = 1 << 5 | 1;

// REQUIRES: `data` outlives the archive.
bool AddMember(zip_t* zip, std::string_view name, std::string_view data) {
  ZipSource source(zip_source_buffer(zip, data.data(), data.size(), 0));
  if (source == nullptr) return false;
  const std::string member = std::string(name) + std::string(kSuffix);
  const zip_int64_t added =
      zip_file_add(zip, member.c_str(), source.get(), ZIP_FL_ENC_UTF_8);
  if (added < 0) return false;
  [[maybe_unused]] auto* const taken = source.release();
  const auto index = static_cast<zip_uint64_t>(added);
  return zip_set_file_compression(zip, index, ZIP_CM_STORE, 0) == 0 &&
         zip_file_set_dostime(zip, index, kDosTime, kDosDate, 0) == 0;
}

absl::Status NotWritten(std::string_view why) {
  return ToStatus({"the npz archive could not be made", std::string(why), ""});
}

absl::StatusOr<std::string> ReadAll(zip_source_t* source) {
  zip_stat_t status;
  zip_stat_init(&status);
  if (zip_source_stat(source, &status) < 0 || zip_source_open(source) < 0) {
    return NotWritten(zip_error_strerror(zip_source_error(source)));
  }
  std::string bytes(status.size, '\0');
  const zip_int64_t got = zip_source_read(source, bytes.data(), bytes.size());
  zip_source_close(source);
  if (got == static_cast<zip_int64_t>(bytes.size())) return bytes;
  return NotWritten("the archive could not be read back");
}

// A .npy file and the name it has in the archive.
struct Member {
  std::string name;
  std::string bytes;
};

absl::StatusOr<std::vector<Member>> MembersOf(
    std::span<const NamedTensor> tensors) {
  std::vector<Member> members;
  for (const NamedTensor& named : tensors) {
    auto bytes = EncodeNpy(named.tensor);
    if (!bytes.ok()) return Of(named.name, bytes.status());
    members.push_back({named.name, *std::move(bytes)});
  }
  return members;
}

absl::StatusOr<std::string> Encode(const std::vector<Member>& members) {
  zip_error_t error;
  zip_error_init(&error);
  ZipSource archive(zip_source_buffer_create(nullptr, 0, 0, &error));
  if (archive == nullptr) return NotWritten(zip_error_strerror(&error));
  zip_source_keep(archive.get());  // zip_close gives its reference back
  Zip zip(zip_open_from_source(archive.get(), ZIP_TRUNCATE, &error));
  if (zip == nullptr) {
    zip_source_free(archive.get());
    return NotWritten(zip_error_strerror(&error));
  }
  for (const Member& member : members) {
    if (!AddMember(zip.get(), member.name, member.bytes)) {
      return NotWritten(zip_strerror(zip.get()));
    }
  }
  if (zip_close(zip.get()) < 0) return NotWritten(zip_strerror(zip.get()));
  [[maybe_unused]] auto* const taken = zip.release();
  return ReadAll(archive.get());
}

}  // namespace

std::uint64_t MostExpandedBytes(std::uint64_t archive_bytes) {
  return std::max(std::uint64_t{1} << 30, 16 * archive_bytes);
}

absl::StatusOr<Archive> ParseNpz(std::string_view bytes,
                                 const ReadOptions& options) {
  const auto zip = OpenToRead(bytes);
  if (!zip.ok()) return zip.status();
  const auto entries = ListEntries(zip->get());
  if (!entries.ok()) return entries.status();
  const std::uint64_t most =
      options.most_expanded.value_or(MostExpandedBytes(bytes.size()));
  std::uint64_t expanded = 0;
  Archive archive;
  for (const Entry& entry : *entries) {
    absl::Status read =
        ReadMember(zip->get(), entry, options, most, expanded, archive);
    if (!read.ok()) return read;
  }
  return archive;
}

absl::StatusOr<std::string> EncodeNpz(std::span<const NamedTensor> tensors) {
  const auto members = MembersOf(tensors);
  if (!members.ok()) return members.status();
  return Encode(*members);
}

absl::StatusOr<std::string> EncodeNpz(const Archive& archive) {
  auto members = MembersOf(archive.tensors);
  if (!members.ok()) return members.status();
  for (const NamedIntegers& named : archive.integers) {
    members->push_back({named.name, EncodeNpy(named.array)});
  }
  return Encode(*members);
}

}  // namespace batchnorm::cli
