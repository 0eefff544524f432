#include "client/cli/comparison_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

using nlohmann::ordered_json;

Cell Verdict(bool pass) {
  return pass ? Cell("pass", Style::kGood) : Cell("FAIL", Style::kBad);
}

// A value of theirs or a true one: enough digits to see where they differ.
Cell ValueCell(double value) {
  Cell cell(value);
  cell.text = fmt::format("{:.9g}", value);
  return cell;
}

std::vector<Cell> MeasureCells(const Comparison& result) {
  return {Cell(result.worst_of_bound),
          Cell(result.max_abs),
          Cell(result.max_rel),
          Cell(result.max_ulp),
          fmt::format("{}/{}", result.nonfinite, result.true_nonfinite),
          ShapeText(result.worst_index),
          ValueCell(result.worst),
          ValueCell(result.worst_true)};
}

ordered_json JsonOf(const NamedComparison& named) {
  const Comparison& result = named.comparison;
  ordered_json json;
  json["result"] = result.pass ? "pass" : "fail";
  json["dtype"] = NameOf(named.dtype);
  if (!result.problem.empty()) {
    json["problem"] = result.problem;
    return json;
  }
  json["elements"] = result.elements;
  json["failed"] = result.failed;
  json["identical"] = result.identical;
  json["max_abs"] = JsonNumber(result.max_abs);
  json["max_rel"] = JsonNumber(result.max_rel);
  json["max_ulp"] = JsonNumber(result.max_ulp);
  json["nonfinite"] = result.nonfinite;
  json["true_nonfinite"] = result.true_nonfinite;
  json["worst"] = {{"index", result.worst_index},
                   {"yours", JsonNumber(result.worst)},
                   {"true", JsonNumber(result.worst_true)},
                   {"of_bound", JsonNumber(result.worst_of_bound)}};
  return json;
}

ordered_json JsonOf(const Tolerance& tolerance) {
  if (const auto& relative = tolerance.relative) {
    return {{"rtol", JsonNumber(relative->rtol)},
            {"atol", JsonNumber(relative->atol)}};
  }
  return {{"ulps", JsonNumber(tolerance.ulps)},
          {"slack", tolerance.with_slack}};
}

std::vector<std::string_view> FailedNames(
    const std::vector<NamedComparison>& comparisons) {
  std::vector<std::string_view> names;
  for (const NamedComparison& named : comparisons) {
    if (!named.comparison.pass) names.push_back(NameOf(named.role));
  }
  return names;
}

}  // namespace

bool AllPass(const std::vector<NamedComparison>& comparisons) {
  return std::ranges::all_of(comparisons, [](const NamedComparison& named) {
    return named.comparison.pass;
  });
}

Table ComparisonTable(const std::vector<NamedComparison>& comparisons) {
  Table table({"tensor", "dtype", "result", ">of_bound", ">max_abs", ">max_rel",
               ">max_ulp", ">nonfinite", "worst_at", ">yours", ">true"});
  for (const NamedComparison& named : comparisons) {
    const Comparison& result = named.comparison;
    std::vector<Cell> row = {std::string(NameOf(named.role)),
                             std::string(NameOf(named.dtype)),
                             Verdict(result.pass)};
    std::vector<Cell> measures(8, Cell(std::string("-")));
    if (result.problem.empty()) measures = MeasureCells(result);
    for (Cell& cell : measures) row.push_back(std::move(cell));
    table.AddRow(std::move(row));
  }
  return table;
}

std::string VerdictText(const std::vector<NamedComparison>& comparisons) {
  std::string text;
  for (const NamedComparison& named : comparisons) {
    const std::string& problem = named.comparison.problem;
    if (problem.empty()) continue;
    text += fmt::format("{}: {}\n", NameOf(named.role), problem);
  }
  const auto failed = FailedNames(comparisons);
  if (failed.empty()) return text + "verdict: pass\n";
  return text + fmt::format("verdict: FAIL ({})\n", fmt::join(failed, ", "));
}

ordered_json JsonOf(const std::vector<NamedComparison>& comparisons,
                    const Tolerance& tolerance) {
  ordered_json json;
  json["verdict"] = AllPass(comparisons) ? "pass" : "fail";
  json["bound"] = JsonOf(tolerance);
  auto& tensors = json["tensors"] = ordered_json::object();
  for (const NamedComparison& named : comparisons) {
    tensors[std::string(NameOf(named.role))] = JsonOf(named);
  }
  return json;
}

}  // namespace batchnorm::cli
