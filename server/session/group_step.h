// What a group keeps of a step that its ranks took together. Values, shared by
// those who read them: a step that gets another Backward is copied.
#ifndef BATCHNORMD_SERVER_SESSION_GROUP_STEP_H_
#define BATCHNORMD_SERVER_SESSION_GROUP_STEP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/kernel/train.h"
#include "server/session/fingerprint.h"

namespace batchnorm::session {

// One Backward of all ranks.
struct GroupBackward {
  std::uint64_t change = 0;     // of the session: when it was taken
  std::vector<Digest> digests;  // of each rank's dy
  // Of the whole batch; dgamma and dbeta divided by the number of ranks where
  // the configuration has their mean.
  kernel::Gradients gradients;
};

struct GroupStep {
  std::uint64_t change = 0;  // of the session: when its Forward was taken
  std::vector<Fingerprint> fingerprints;            // of each rank
  std::shared_ptr<const kernel::TrainBatch> batch;  // the whole one
  std::map<std::uint32_t, std::shared_ptr<const GroupBackward>> passes;

  std::uint32_t world_size() const {
    return static_cast<std::uint32_t>(fingerprints.size());
  }
};

using GroupStepPtr = std::shared_ptr<const GroupStep>;

// How often the Backward of one step can be taken together.
inline constexpr std::uint32_t kMaxPasses = 16;

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_GROUP_STEP_H_
