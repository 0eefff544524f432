// What a group looks like from outside: for people.
#ifndef BATCHNORMD_SERVER_SESSION_GROUP_VIEW_H_
#define BATCHNORMD_SERVER_SESSION_GROUP_VIEW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace batchnorm::session {

enum class Phase : std::uint8_t { kForward, kBackward };

// What ranks wait for.
struct PhaseKey {
  std::uint64_t step = 0;
  Phase phase = Phase::kForward;
  std::uint32_t pass = 0;  // Backward

  auto operator<=>(const PhaseKey&) const = default;
};

// batchnorm.v1.RankState.
struct RankView {
  std::uint32_t rank = 0;
  std::optional<std::string> job;  // joined
  std::optional<absl::Duration> seen_ago;
  std::optional<absl::Duration> last_wait;
};

// batchnorm.v1.BarrierState.
struct BarrierView {
  PhaseKey key;
  std::uint64_t attempt = 0;
  absl::Duration age;
  std::vector<std::uint32_t> present;
  std::vector<std::uint32_t> missing;
};

struct GroupView {
  std::vector<RankView> ranks;
  std::vector<BarrierView> barriers;
};

// Ranks that others wait for, unusually long and not told before.
struct Stragglers {
  PhaseKey key;
  std::uint64_t attempt = 0;
  absl::Duration waited;
  std::vector<std::uint32_t> ranks;
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_GROUP_VIEW_H_
