// Rows that last as long as the process.
#ifndef BATCHNORMD_SERVER_STORAGE_MEMORY_STORE_H_
#define BATCHNORMD_SERVER_STORAGE_MEMORY_STORE_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "server/storage/store.h"

namespace batchnorm::storage {

// Returns no errors. Thread-safe.
class MemoryStore : public Store {
 public:
  absl::StatusOr<std::optional<Row>> Load(std::string_view key) override;
  absl::StatusOr<std::vector<Outcome>> Commit(
      std::span<const Write> writes) override;
  absl::StatusOr<Outcome> Erase(std::string_view key,
                                std::uint64_t incarnation) override;
  absl::StatusOr<std::vector<Row>> Scan(std::string_view from,
                                        std::size_t limit) override;
  absl::StatusOr<std::int64_t> Count() override;

 private:
  struct Content {
    Version version;
    std::string header;
    std::string body;
    std::map<std::uint32_t, std::string> parts;
  };

  Outcome Apply(const Write& write);

  std::mutex mutex_;
  // Guarded by mutex_.
  std::map<std::string, Content, std::less<>> rows_;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_MEMORY_STORE_H_
