// The conventions of frameworks, in the words of this API.
//
// Frameworks agree on y and differ on everything else: whether `momentum` is
// the weight of the new batch or of the old average, whether the running
// variance divides by n or n - 1, the default eps, where channels are, and what
// a channel with one value means.
//
//                momentum   new_weight    ddof  eps   axis  one value
//     torch      0.1, none  momentum      1     1e-5   1    rejected
//     keras      0.99       1 - momentum  0     1e-3  -1    y = beta
//     tf_fused   0.99       1 - momentum  1     1e-3  -1    factor n/max(n-1,1)
//     flax       0.99       1 - momentum  0     1e-5  -1    y = beta
//     onnx       0.9        1 - momentum  0     1e-5   1    y = beta
//     cudnn      the factor               1     1e-5   1    NaN, as IEEE says
//     miopen     the factor               1     1e-5   1    factor n/max(n-1,1)
//
// Functions are pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_PRESETS_H_
#define BATCHNORMD_CLIENT_PRESETS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/types.h"

namespace batchnorm::client {

// What the framework's own layer was given; absent means its default.
struct PresetArgs {
  // In the framework's sense. cudnn and miopen: exponentialAverageFactor.
  std::optional<double> momentum = {};
  // PyTorch's momentum=None: the plain average of all batches. torch only.
  bool cumulative = false;
  std::optional<double> eps = {};
  std::optional<std::int32_t> channel_axis = {};
};

struct PresetResult {
  Normalization normalization = {};
  // What the caller should be told, a sentence each: a value that the framework
  // would not use as given, or a default that it does not have.
  std::vector<std::string> notes = {};
};

// INVALID_ARGUMENT for a framework that is not in PresetNames(), and for
// `cumulative` where the framework has none or a momentum is given too.
absl::StatusOr<PresetResult> Preset(std::string_view framework,
                                    const PresetArgs& args = {});

// The names that Preset knows, in the order of the table.
std::vector<std::string> PresetNames();

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_PRESETS_H_
