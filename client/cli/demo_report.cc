#include "client/cli/demo_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "client/cli/output.h"
#include "client/cli/session_view.h"

namespace batchnorm::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kSparkWidth = 32;

const char* Verdict(bool pass) { return pass ? "PASS" : "FAIL"; }

double Median(std::vector<double> values) {
  const std::size_t middle = values.size() / 2;
  std::sort(values.begin(), values.end());
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

// "bn1" of "demo/3fa92c11/bn1".
std::string LayerName(const DemoLayerReport& layer) {
  return layer.name.substr(layer.name.rfind('/') + 1);
}

std::string CountLine(const std::string& layer, const char* who,
                      const CallCounts& counts) {
  return fmt::format("  {:<5}{:<18}{:>9}{:>11}{:>10}{:>10}\n", layer, who,
                     counts.forwards, counts.inferences, counts.backwards,
                     counts.replays);
}

std::string GradientLine(const char* name, const GradientError& error) {
  return fmt::format("  {:<8}{:>6} elements   max rel {:.1e}   {}\n", name,
                     error.elements, error.relative,
                     Verdict(error.relative <= kGradientTolerance));
}

std::string StatisticsLine(const std::string& layer, const char* statistic,
                           const std::vector<double>& values) {
  if (values.empty()) return "";
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  return fmt::format("  {:<5}{:<6}{:>10.4f}{:>10.4f}{:>10.4f}  {}\n", layer,
                     statistic, *min, Median(values), *max,
                     SparkLine(values, kSparkWidth));
}

Json ToJson(const CallCounts& counts) {
  return {{"forwards", counts.forwards},
          {"inferences", counts.inferences},
          {"backwards", counts.backwards},
          {"replays", counts.replays}};
}

Json ToJson(const EpochReport& epoch) {
  return {{"epoch", epoch.epoch},
          {"loss", JsonNumber(epoch.loss)},
          {"held_out_accuracy", epoch.accuracy}};
}

Json ToJson(const DemoLayerReport& layer) {
  return {{"session", layer.name},
          {"sent", ToJson(layer.sent)},
          {"received", ToJson(layer.received)},
          {"running_mean", JsonNumbers(layer.running.mean)},
          {"running_var", JsonNumbers(layer.running.var)},
          {"batch_count", layer.running.batch_count}};
}

Json ToJson(const GradientError& error) {
  return {{"elements", error.elements},
          {"max_relative", JsonNumber(error.relative)}};
}

template <typename T>
Json ToJson(const std::vector<T>& items) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(ToJson(item));
  return list;
}

}  // namespace

std::string Introduction(std::size_t digits,
                         const std::string& session_prefix) {
  return fmt::format(
      "digits    {} real images of 8 x 8 pixels, a fifth of them held out\n"
      "layers    sessions {}/bn1 and bn2: each Forward and Backward\n"
      "          of theirs is a call\n\n"
      "  epoch     loss   held-out accuracy\n",
      digits, session_prefix);
}

std::string EpochLine(const EpochReport& epoch) {
  return fmt::format("  {:>5}   {:.4f}   {:.4f}\n", epoch.epoch, epoch.loss,
                     epoch.accuracy);
}

std::string AccuracyLine(const TrainingReport& report) {
  return fmt::format(
      "          {:.4f} of {} held-out digits read right, {} expected   {}\n",
      report.accuracy(), report.held_out_digits, kAccuracyBound,
      Verdict(IsAccurate(report)));
}

std::string CallTable(const TrainingReport& report) {
  std::string table =
      fmt::format("\n{:<25}{:>9}{:>11}{:>10}{:>10}\n", "calls", "forward",
                  "inference", "backward", "replayed");
  for (const DemoLayerReport& layer : report.layers) {
    table += CountLine(LayerName(layer), "sent from here", layer.sent);
    table += CountLine("", "counted by server", layer.received);
  }
  return table;
}

std::string GradientTable(const GradientProbe& probe,
                          const GradientErrors& errors) {
  return fmt::format(
             "\ngradients of sum(w * y) against numerical differentiation: "
             "{} real rows,\n{} channels, f64, {} calls of Evaluate\n",
             probe.rows, probe.channels, errors.evaluations) +
         GradientLine("dx", errors.dx) + GradientLine("dgamma", errors.dgamma) +
         GradientLine("dbeta", errors.dbeta);
}

std::string StatisticsTable(const TrainingReport& report) {
  std::string table =
      fmt::format("\n{:<18}{:>5}{:>10}{:>10}  {}\n", "running statistics",
                  "min", "median", "max", "channels in order");
  for (const DemoLayerReport& layer : report.layers) {
    table += StatisticsLine(LayerName(layer), "mean", layer.running.mean);
    table += StatisticsLine("", "var", layer.running.var);
  }
  return table;
}

std::string DemoJson(const TrainingReport& report,
                     const GradientErrors& errors) {
  const Json json = {
      {"pass", IsAccurate(report) && Passes(errors)},
      {"trained_digits", report.trained_digits},
      {"held_out_digits", report.held_out_digits},
      {"held_out_accuracy", report.accuracy()},
      {"accuracy_bound", kAccuracyBound},
      {"epochs", ToJson(report.epochs)},
      {"layers", ToJson(report.layers)},
      {"gradients",
       {{"tolerance", kGradientTolerance},
        {"evaluations", errors.evaluations},
        {"dx", ToJson(errors.dx)},
        {"dgamma", ToJson(errors.dgamma)},
        {"dbeta", ToJson(errors.dbeta)}}},
  };
  return json.dump(2) + "\n";
}

std::string DemoCsv(const TrainingReport& report) {
  std::string csv = "epoch,loss,held_out_accuracy\n";
  for (const EpochReport& epoch : report.epochs) {
    csv += fmt::format("{},{},{}\n", epoch.epoch, epoch.loss, epoch.accuracy);
  }
  return csv;
}

}  // namespace batchnorm::cli
