#include "server/session/config.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/session/error.h"
#include "server/session/text.h"

namespace batchnorm::session {

namespace {

absl::Status BadConfig(const std::string& field, const std::string& text) {
  return InvalidField(field, "BAD_CONFIG", text);
}

absl::Status CheckAxes(const std::vector<std::int32_t>& axes,
                       const std::string& field) {
  std::vector<std::int32_t> sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  const bool in_range = !sorted.empty() && sorted.front() >= -kMaxRank &&
                        sorted.back() < kMaxRank;
  if (!in_range) {
    return InvalidField(
        field, "BAD_CHANNEL_AXES",
        absl::StrCat("expected 1 or more axes in [-8, 7], got ", Text(axes)));
  }
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return InvalidField(
        field, "BAD_CHANNEL_AXES",
        absl::StrCat("expected each axis once, got ", Text(axes)));
  }
  return absl::OkStatus();
}

absl::Status CheckChannels(std::int64_t channels) {
  if (channels >= 1 && channels <= kMaxChannels) return absl::OkStatus();
  return BadConfig(
      "config.channels",
      absl::StrCat("expected 1 to ", kMaxChannels, ", got ", channels));
}

absl::Status CheckStepWindow(std::uint32_t step_window) {
  if (step_window >= 1 && step_window <= kMaxStepWindow) {
    return absl::OkStatus();
  }
  return BadConfig(
      "config.step_window",
      absl::StrCat("expected 1 to ", kMaxStepWindow, ", got ", step_window));
}

}  // namespace

absl::Status Validate(const Normalization& normalization,
                      std::string_view prefix) {
  const std::string within(prefix);
  absl::Status axes =
      CheckAxes(normalization.channel_axes, within + "channel_axes");
  if (!axes.ok()) return axes;
  if (!std::isfinite(normalization.eps) || normalization.eps < 0) {
    return BadConfig(
        within + "eps",
        "expected a finite number, at least 0, got " + Text(normalization.eps));
  }
  const std::optional<double> new_weight = normalization.new_weight;
  if (new_weight.has_value() && !std::isfinite(*new_weight)) {
    return BadConfig(within + "new_weight",
                     "expected a finite number, got " + Text(*new_weight));
  }
  if (normalization.running_ddof > 1) {
    return BadConfig(
        within + "running_ddof",
        absl::StrCat("expected 0 or 1, got ", normalization.running_ddof));
  }
  return absl::OkStatus();
}

absl::Status CheckWorldSize(std::uint32_t world_size, std::string_view field) {
  if (world_size >= 1 && world_size <= kMaxWorldSize) return absl::OkStatus();
  return InvalidField(
      field, "BAD_CONFIG",
      absl::StrCat("expected 1 to ", kMaxWorldSize, ", got ", world_size));
}

absl::Status Validate(const SessionConfig& config) {
  absl::Status status = CheckChannels(config.channels);
  if (status.ok()) {
    status = Validate(config.normalization, "config.normalization.");
  }
  if (status.ok()) status = CheckStepWindow(config.step_window);
  if (status.ok()) {
    status = CheckWorldSize(config.world_size, "config.world_size");
  }
  return status;
}

}  // namespace batchnorm::session
