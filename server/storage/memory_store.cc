#include "server/storage/memory_store.h"

#include <iterator>
#include <utility>

namespace batchnorm::storage {

absl::StatusOr<std::optional<Row>> MemoryStore::Load(std::string_view key) {
  const std::lock_guard lock(mutex_);
  const auto found = rows_.find(key);
  if (found == rows_.end()) return std::optional<Row>();
  const Content& content = found->second;
  Row row = {.key = found->first,
             .version = content.version,
             .header = content.header,
             .body = content.body};
  for (const auto& [number, bytes] : content.parts) {
    row.parts.push_back({number, bytes});
  }
  return std::optional<Row>(std::move(row));
}

absl::StatusOr<std::vector<Outcome>> MemoryStore::Commit(
    std::span<const Write> writes) {
  const std::lock_guard lock(mutex_);
  std::vector<Outcome> outcomes;
  outcomes.reserve(writes.size());
  for (const Write& write : writes) outcomes.push_back(Apply(write));
  return outcomes;
}

// REQUIRES: the mutex is held.
Outcome MemoryStore::Apply(const Write& write) {
  const auto found = rows_.find(write.key);
  const bool exists = found != rows_.end();
  if (exists != (write.expected.number != 0)) return Outcome::kConflict;
  if (exists && found->second.version != write.expected) {
    return Outcome::kConflict;
  }
  Content& content = exists ? found->second : rows_[write.key];
  content.version = {write.expected.incarnation, write.expected.number + 1};
  content.header = write.header;
  content.body = write.body;
  for (const Part& part : write.parts) content.parts[part.number] = part.bytes;
  return Outcome::kDone;
}

absl::StatusOr<Outcome> MemoryStore::Erase(std::string_view key,
                                           std::uint64_t incarnation) {
  const std::lock_guard lock(mutex_);
  const auto found = rows_.find(key);
  if (found == rows_.end() ||
      found->second.version.incarnation != incarnation) {
    return Outcome::kConflict;
  }
  rows_.erase(found);
  return Outcome::kDone;
}

absl::StatusOr<std::vector<Row>> MemoryStore::Scan(std::string_view from,
                                                   std::size_t limit) {
  const std::lock_guard lock(mutex_);
  std::vector<Row> rows;
  for (auto at = rows_.lower_bound(from);
       at != rows_.end() && rows.size() < limit; ++at) {
    const auto& [key, content] = *at;
    rows.push_back({key, content.version, content.header, {}});
  }
  return rows;
}

absl::StatusOr<std::int64_t> MemoryStore::Count() {
  const std::lock_guard lock(mutex_);
  return std::ssize(rows_);
}

}  // namespace batchnorm::storage
