// Where rows outlive a call, a process or a machine: opaque bytes by key.
//
// The one interface every store has; a store may be in memory, in a file or
// across a network, and it may be shared with other servers. So a write names
// the version it replaces, and a writer that lost its place gets a conflict
// instead of overwriting what somebody else wrote since.
#ifndef BATCHNORMD_SERVER_STORAGE_STORE_H_
#define BATCHNORMD_SERVER_STORAGE_STORE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace batchnorm::storage {

// Which write a row is from. An incarnation is the life of a row from its first
// write until it is erased; its writer chooses it at random, so that a late
// write never lands in another row that has got the same key since.
struct Version {
  std::uint64_t incarnation = 0;
  std::uint64_t number = 0;  // writes so far; 0: there is no row

  bool operator==(const Version&) const = default;
};

// A piece of a row that is written without its other pieces. A row keeps those
// that it has got until it is erased, or others of their numbers replace them.
struct Part {
  std::uint32_t number = 0;
  std::string bytes;

  bool operator==(const Part&) const = default;
};

struct Row {
  std::string key;
  Version version;
  std::string header;         // what a scan returns
  std::string body;           // what only Load returns
  std::vector<Part> parts{};  // by ascending number; only Load returns them
};

// Replaces the row of `expected`, or makes it if expected.number is 0. The row
// is then {expected.incarnation, expected.number + 1}.
struct Write {
  std::string key;
  Version expected;
  std::string header;
  std::string body;
  std::vector<Part> parts{};  // each number once
};

enum class Outcome : std::uint8_t {
  kDone,
  kConflict,  // the row is another, or gone, or there is one already
};

// Thread-safe. Every function blocks. Errors: UNAVAILABLE and
// RESOURCE_EXHAUSTED (no room) may pass, DATA_LOSS (what is stored is damaged)
// does not. Texts name no path or address. After an error of Commit or Erase
// it is not known what was written: load before writing again.
class Store {
 public:
  virtual ~Store() = default;

  // Empty if there is no such row.
  virtual absl::StatusOr<std::optional<Row>> Load(std::string_view key) = 0;

  // Writes in this order, in one transaction; a conflict fails its own write
  // only. Returns an outcome for each. When it returns, what is done lasts, as
  // far as the store promises.
  virtual absl::StatusOr<std::vector<Outcome>> Commit(
      std::span<const Write> writes) = 0;

  // Conflict if the row is of another incarnation, or there is none.
  virtual absl::StatusOr<Outcome> Erase(std::string_view key,
                                        std::uint64_t incarnation) = 0;

  // At most `limit` rows without bodies and parts, in the order of bytes of
  // their keys, from the first that is not below `from` on. After row r go on
  // from r.key + '\0'.
  virtual absl::StatusOr<std::vector<Row>> Scan(std::string_view from,
                                                std::size_t limit) = 0;

  // The number of rows.
  virtual absl::StatusOr<std::int64_t> Count() = 0;
};

}  // namespace batchnorm::storage

#endif  // BATCHNORMD_SERVER_STORAGE_STORE_H_
