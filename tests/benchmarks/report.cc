#include "tests/benchmarks/report.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "tests/benchmarks/classes.h"
#include "tests/benchmarks/summary.h"
#include "tests/benchmarks/targets.h"

namespace batchnorm::benchmark {
namespace {

using Json = nlohmann::ordered_json;

Json SeriesAsJson(const Series& series) {
  return {{"peer", series.peer},
          {"threads", series.threads},
          {"calls", series.calls},
          {"seconds", series.seconds}};
}

Json RatiosAsJson(const Result& result, int threads) {
  Json ratios = {{"threads", threads}};
  for (const Metric metric : kMetrics) {
    const std::optional<double> value = ValueOf(metric, result, threads);
    if (value) ratios[NameOf(metric)] = *value;
  }
  return ratios;
}

Json ResultAsJson(const Result& result, std::span<const int> threads) {
  const Problem& problem = result.problem;
  Json json = {{"name", problem.shape.name},
               {"sizes", SizesOf(problem.shape)},
               {"layout", NameOf(problem.layout)},
               {"direction", NameOf(problem.direction)},
               {"bytes", problem.shape.f32_bytes()},
               {"series", Json::array()},
               {"ratios", Json::array()}};
  for (const Series& series : result.series) {
    json["series"].push_back(SeriesAsJson(series));
  }
  for (const int count : threads) {
    json["ratios"].push_back(RatiosAsJson(result, count));
  }
  return json;
}

// Empty where nothing of the class was measured.
std::optional<Json> MeansAsJson(const Run& run, const Class& problems,
                                Direction direction, int threads) {
  Json means = {{"class", problems.name},
                {"direction", NameOf(direction)},
                {"threads", threads}};
  const std::size_t keys = means.size();
  for (const Metric metric : kMetrics) {
    const std::vector<double> values =
        Values(run.results, {metric, problems, direction, threads});
    if (!values.empty()) means[NameOf(metric)] = GeometricMean(values);
  }
  return means.size() > keys ? std::optional(means) : std::nullopt;
}

Json AllMeansAsJson(const Run& run) {
  Json all = Json::array();
  for (const int count : run.threads) {
    for (const Direction direction :
         {Direction::kForward, Direction::kBackward}) {
      for (const Class* problems : AllClasses()) {
        const auto means = MeansAsJson(run, *problems, direction, count);
        if (means) all.push_back(*means);
      }
    }
  }
  return all;
}

Json TargetAsJson(const Target& target) {
  return {{"name", target.name},
          {"value", target.value},
          {"bound", target.bound},
          {"at_least", target.is_at_least},
          {"met", target.met()}};
}

}  // namespace

Json AsJson(const Run& run) {
  Json json = {{"machine", Describe(run.machine)},
               {"load", run.load},
               {"quick", run.is_quick},
               {"threads", run.threads},
               {"onednn", run.onednn},
               {"pytorch", run.pytorch},
               {"results", Json::array()},
               {"means", AllMeansAsJson(run)},
               {"targets", Json::array()}};
  for (const Result& result : run.results) {
    json["results"].push_back(ResultAsJson(result, run.threads));
  }
  for (const Target& target : Targets(run.results, run.threads)) {
    json["targets"].push_back(TargetAsJson(target));
  }
  return json;
}

}  // namespace batchnorm::benchmark
