#include "server/admin/levels.h"

#include <prometheus/client_metric.h>
#include <prometheus/metric_type.h>

#include <utility>

namespace batchnorm::admin {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

struct Sample {
  double value;
  std::string label = {};  // its value; empty: none
};

// `label` names what tells the samples apart.
MetricFamily Family(MetricType type, const std::string& name,
                    const std::string& help, const std::vector<Sample>& samples,
                    const std::string& label = "") {
  MetricFamily family{
      .name = "batchnormd_" + name, .help = help, .type = type, .metric = {}};
  for (const Sample& sample : samples) {
    ClientMetric& metric = family.metric.emplace_back();
    if (!label.empty()) metric.label.push_back({label, sample.label});
    if (type == MetricType::Counter) {
      metric.counter.value = sample.value;
    } else {
      metric.gauge.value = sample.value;
    }
  }
  return family;
}

double Of(std::int64_t count) { return static_cast<double>(count); }

}  // namespace

LevelsCollector::LevelsCollector(std::string version,
                                 std::function<Levels()> look)
    : version_(std::move(version)), look_(std::move(look)) {}

std::vector<MetricFamily> LevelsCollector::Collect() const {
  const Levels now = look_();
  constexpr MetricType kGauge = MetricType::Gauge;
  constexpr MetricType kCounter = MetricType::Counter;
  return {
      Family(kGauge, "build_info", "Always 1; the version is in the label.",
             {{1, version_}}, "version"),
      Family(kGauge, "sessions", "Sessions that exist, in memory or not.",
             {{Of(now.sessions)}}),
      Family(kGauge, "loaded_sessions", "Sessions that are in memory.",
             {{Of(now.loaded_sessions)}}),
      Family(kGauge, "kept_input_bytes",
             "Bytes of inputs that are kept for Backward.",
             {{Of(now.kept_input_bytes)}}),
      Family(kCounter, "evicted_inputs_total",
             "Inputs given up before their Backward to make room; a Backward "
             "has to send x again then.",
             {{Of(now.evicted_inputs)}}),
      Family(kGauge, "in_flight_bytes", "Request bytes that are worked on.",
             {{Of(now.bytes_in_flight)}}),
      Family(kGauge, "queued_calls",
             "Calls that wait for a thread of their pool.",
             {{Of(now.queued_tensor_calls), "compute"},
              {Of(now.queued_session_calls), "session"}},
             "pool"),
      Family(kCounter, "kernel_seconds_total",
             "Time that computing threads spent in sums, statistics and "
             "results, without parsing, storing and sending.",
             {{absl::ToDoubleSeconds(now.kernel_time)}}),
      Family(kCounter, "reloads_total",
             "Certificates and token files read again since they changed; "
             "failed ones were damaged, and the old ones stay in force.",
             {{Of(now.reloads_done), "ok"}, {Of(now.reloads_failed), "failed"}},
             "result"),
  };
}

}  // namespace batchnorm::admin
