// The constants of a layer as flags: a framework's own words under --preset, or
// those of this service.
#ifndef BATCHNORMD_CLIENT_CLI_LAYER_OPTIONS_H_
#define BATCHNORMD_CLIENT_CLI_LAYER_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/presets.h"

namespace batchnorm::cli {

struct LayerOptions {
  std::string preset = {};              // "" for none
  std::optional<double> momentum = {};  // in the preset's sense
  std::optional<double> eps = {};
  std::optional<double> new_weight = {};
  bool cumulative = false;
  std::optional<std::uint32_t> ddof = {};
  std::string axes = {};        // "1" or "0,2"; "" for the default
  std::string degenerate = {};  // "" for the default
};

void AddLayerOptions(CLI::App& command, LayerOptions& options);

// The constants that the flags name, and notes for the person. Flags in this
// service's words go before what the preset says. Pure.
absl::StatusOr<client::PresetResult> NormalizationOf(
    const LayerOptions& options);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_LAYER_OPTIONS_H_
