#include "client/cli/session_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "client/cli/config_json.h"
#include "client/cli/tensor_text.h"

namespace batchnorm::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kSparkColumns = 40;
constexpr std::array<std::string_view, 8> kBars = {"▁", "▂", "▃", "▄",
                                                   "▅", "▆", "▇", "█"};

std::string AveragingOf(const client::Normalization& constants) {
  if (!constants.new_weight) return "cumulative";
  return fmt::format("new_weight {}", ExactText(*constants.new_weight));
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string BytesText(std::int64_t bytes) {
  constexpr double kMega = 1e6;
  if (bytes < 1'000'000) return fmt::format("{} bytes", bytes);
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / kMega);
}

std::string LayerText(const client::SessionConfig& config) {
  const client::Normalization& constants = config.normalization;
  return fmt::format("axis {}, eps {}, {}, ddof {}, degenerate {}",
                     fmt::join(constants.channel_axes, ","),
                     ExactText(constants.eps), AveragingOf(constants),
                     constants.running_ddof,
                     NameOf(constants.degenerate_policy));
}

std::string CountersText(const client::SessionCounters& counters) {
  return fmt::format(
      "{} forward, {} backward, {} inference, {} replayed, {} inputs evicted",
      counters.forward_count, counters.backward_count, counters.inference_count,
      counters.replay_count, counters.evicted_input_count);
}

std::string RanksText(const std::vector<std::uint32_t>& ranks) {
  return ranks.empty() ? "none" : fmt::format("{}", fmt::join(ranks, ", "));
}

std::string SecondsText(absl::Duration duration) {
  return fmt::format("{:.3g} s", absl::ToDoubleSeconds(duration));
}

std::string RankText(const client::RankInfo& rank) {
  std::string text = rank.job ? fmt::format("joined ({})", *rank.job)
                              : std::string("not joined");
  if (rank.seen_ago) text += ", seen " + SecondsText(*rank.seen_ago) + " ago";
  if (rank.last_wait) text += ", waited " + SecondsText(*rank.last_wait);
  return text;
}

std::string_view NameOfPhase(client::GroupPhase phase) {
  return phase == client::GroupPhase::kForward ? "forward" : "backward";
}

std::string BarrierText(const client::BarrierInfo& barrier) {
  return fmt::format(
      "{} of step {}, pass {}, attempt {}, for {}: present {}; "
      "missing {}",
      NameOfPhase(barrier.phase), barrier.step, barrier.pass, barrier.attempt,
      SecondsText(barrier.age), RanksText(barrier.present_ranks),
      RanksText(barrier.missing_ranks));
}

// Those without an open Join.
std::vector<std::uint32_t> MissingRanks(const client::GroupInfo& group,
                                        std::uint32_t world_size) {
  std::vector<std::uint32_t> missing(world_size);
  std::iota(missing.begin(), missing.end(), 0);
  for (const client::RankInfo& rank : group.ranks) {
    if (rank.job) std::erase(missing, rank.rank);
  }
  return missing;
}

void AddGroup(const client::GroupInfo& group, std::uint32_t world_size,
              Table& table) {
  for (const client::RankInfo& rank : group.ranks) {
    table.AddRow({fmt::format("rank {}", rank.rank), RankText(rank)});
  }
  table.AddRow(
      {std::string("not joined"), RanksText(MissingRanks(group, world_size))});
  for (const client::BarrierInfo& barrier : group.barriers) {
    table.AddRow({std::string("waiting"), BarrierText(barrier)});
  }
  if (group.barriers.empty()) {
    table.AddRow({std::string("waiting"), std::string("nobody")});
  }
}

std::string SpreadText(std::vector<double> values, bool with_spark) {
  if (values.empty()) return "no channels";
  const std::string spark =
      with_spark ? "  " + SparkLine(values, kSparkColumns) : "";
  std::ranges::sort(values);
  return fmt::format("min {:.4g}, median {:.4g}, max {:.4g}{}", values.front(),
                     values[values.size() / 2], values.back(), spark);
}

// The greatest value of the part of `values` that column `column` shows.
double ColumnValue(std::span<const double> values, std::size_t column,
                   std::size_t columns) {
  const std::size_t begin = column * values.size() / columns;
  const std::size_t end = (column + 1) * values.size() / columns;
  return std::ranges::max(values.subspan(begin, end - begin));
}

std::string_view BarOf(double value, double least, double most) {
  if (!std::isfinite(value)) return "!";
  if (most == least) return kBars[0];
  const double share = (value - least) / (most - least);
  const long top = static_cast<long>(kBars.size()) - 1;
  return kBars[static_cast<std::size_t>(
      std::lround(share * static_cast<double>(top)))];
}

ordered_json JsonOf(const client::SessionCounters& counters) {
  return {{"forward", counters.forward_count},
          {"replay", counters.replay_count},
          {"inference", counters.inference_count},
          {"backward", counters.backward_count},
          {"evicted_input", counters.evicted_input_count}};
}

ordered_json JsonOf(const client::RankInfo& rank) {
  ordered_json json = {{"rank", rank.rank}, {"joined", rank.job.has_value()}};
  if (rank.job) json["job"] = *rank.job;
  if (rank.seen_ago) {
    json["seen_ago_seconds"] = absl::ToDoubleSeconds(*rank.seen_ago);
  }
  if (rank.last_wait) {
    json["last_wait_seconds"] = absl::ToDoubleSeconds(*rank.last_wait);
  }
  return json;
}

ordered_json JsonOf(const client::BarrierInfo& barrier) {
  return {{"step", barrier.step},
          {"phase", NameOfPhase(barrier.phase)},
          {"pass", barrier.pass},
          {"attempt", barrier.attempt},
          {"age_seconds", absl::ToDoubleSeconds(barrier.age)},
          {"present_ranks", barrier.present_ranks},
          {"missing_ranks", barrier.missing_ranks}};
}

ordered_json GroupJson(const client::GroupInfo& group,
                       std::uint32_t world_size) {
  ordered_json json = {{"ranks", ordered_json::array()},
                       {"missing_ranks", MissingRanks(group, world_size)},
                       {"barriers", ordered_json::array()}};
  for (const auto& rank : group.ranks) json["ranks"].push_back(JsonOf(rank));
  for (const auto& barrier : group.barriers) {
    json["barriers"].push_back(JsonOf(barrier));
  }
  return json;
}

ordered_json JsonOf(const client::RunningStatistics& running) {
  return {{"mean", JsonNumbers(running.mean)},
          {"var", JsonNumbers(running.var)},
          {"batch_count", running.batch_count}};
}

}  // namespace

Table SessionTable(const std::vector<client::SessionInfo>& sessions) {
  Table table({"name", ">channels", ">last_step", "created"});
  for (const client::SessionInfo& session : sessions) {
    table.AddRow({session.name, std::to_string(session.config.channels),
                  std::to_string(session.last_step),
                  TimeText(session.create_time)});
  }
  return table;
}

Table SessionDetails(const client::SessionInfo& session, bool with_spark) {
  const client::SessionConfig& config = session.config;
  Table table({"property", "value"});
  table.AddRow({std::string("name"), session.name});
  table.AddRow({std::string("channels"), std::to_string(config.channels)});
  table.AddRow({std::string("layer"), LayerText(config)});
  table.AddRow({std::string("last step"), std::to_string(session.last_step)});
  table.AddRow(
      {std::string("step window"), std::to_string(config.step_window)});
  table.AddRow({std::string("non-finite x"),
                std::string(NameOf(config.non_finite_policy))});
  table.AddRow({std::string("kept inputs"),
                config.kept_input_policy == client::KeptInputPolicy::kDiscard
                    ? "none, by its configuration"
                    : BytesText(session.kept_input_bytes)});
  table.AddRow({std::string("calls"), CountersText(session.counters)});
  table.AddRow({std::string("created"), TimeText(session.create_time)});
  if (config.world_size > 1) {
    table.AddRow(
        {std::string("world size"), std::to_string(config.world_size)});
  }
  if (session.group) {
    AddGroup(*session.group, session.config.world_size, table);
  }
  if (const auto& running = session.running_statistics) {
    table.AddRow(
        {std::string("batches"), std::to_string(running->batch_count)});
    table.AddRow(
        {std::string("running mean"), SpreadText(running->mean, with_spark)});
    table.AddRow(
        {std::string("running var"), SpreadText(running->var, with_spark)});
  }
  return table;
}

ordered_json JsonOf(const client::SessionInfo& session) {
  ordered_json json;
  json["name"] = session.name;
  json["config"] = JsonOf(session.config);
  json["last_step"] = session.last_step;
  json["create_time"] = TimeText(session.create_time);
  json["kept_input_bytes"] = session.kept_input_bytes;
  json["counters"] = JsonOf(session.counters);
  if (session.group) {
    json["group"] = GroupJson(*session.group, session.config.world_size);
  }
  if (session.running_statistics) {
    json["running_statistics"] = JsonOf(*session.running_statistics);
  }
  return json;
}

std::string SparkLine(std::span<const double> values, std::size_t columns) {
  double least = std::numeric_limits<double>::infinity();
  double most = -least;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  const std::size_t width = std::min(columns, values.size());
  std::string line;
  for (std::size_t column = 0; column < width; ++column) {
    line += BarOf(ColumnValue(values, column, width), least, most);
  }
  return line;
}

}  // namespace batchnorm::cli
