#include "client/cli/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "client/cli/command.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

using nlohmann::ordered_json;

PipeFormat PipeFormatOf(const DestinationOptions& options) {
  return options.output_format == "csv" ? PipeFormat::kCsv : PipeFormat::kNpy;
}

// A tensor's finite values; NaN and infinities are only counted.
struct Spread {
  std::vector<double> finite;
  std::size_t nonfinite = 0;
};

Spread SpreadOf(const Tensor& tensor) {
  Spread spread;
  for (const double value : ToDoubles(tensor)) {
    if (std::isfinite(value)) {
      spread.finite.push_back(value);
    } else {
      ++spread.nonfinite;
    }
  }
  return spread;
}

double MedianOf(std::vector<double>& values) {
  const auto middle =
      values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

std::vector<Cell> SpreadCells(Spread spread) {
  std::vector<Cell> cells(3, Cell(std::string("-")));
  if (!spread.finite.empty()) {
    const auto [least, most] = std::ranges::minmax(spread.finite);
    cells = {Cell(least), Cell(MedianOf(spread.finite)), Cell(most)};
  }
  cells.emplace_back(std::to_string(spread.nonfinite));
  return cells;
}

Table SummaryOf(std::span<const NamedTensor> results) {
  Table table(
      {"tensor", "shape", "dtype", ">min", ">median", ">max", ">nonfinite"});
  for (const NamedTensor& named : results) {
    std::vector<Cell> row = {named.name, ShapeText(named.tensor.shape),
                             std::string(NameOf(named.tensor.dtype))};
    for (Cell& cell : SpreadCells(SpreadOf(named.tensor))) {
      row.push_back(std::move(cell));
    }
    table.AddRow(std::move(row));
  }
  return table;
}

Table ListOf(std::span<const NamedTensor> results) {
  Table table({"tensor", "shape", "dtype"});
  for (const NamedTensor& named : results) {
    table.AddRow({named.name, ShapeText(named.tensor.shape),
                  std::string(NameOf(named.tensor.dtype))});
  }
  return table;
}

ordered_json JsonOf(std::span<const NamedTensor> results, bool with_values) {
  auto tensors = ordered_json::object();
  for (const NamedTensor& named : results) {
    ordered_json& entry = tensors[named.name];
    entry["dtype"] = NameOf(named.tensor.dtype);
    entry["shape"] = named.tensor.shape;
    if (with_values) entry["values"] = JsonNumbers(ToDoubles(named.tensor));
  }
  return tensors;
}

std::string OneLine(std::string_view path,
                    std::span<const NamedTensor> results) {
  std::vector<std::string> summaries;
  for (const NamedTensor& named : results) {
    summaries.push_back(Summary(named.name, named.tensor));
  }
  return fmt::format("{}: {}\n", path, fmt::join(summaries, ", "));
}

}  // namespace

NamedTensor PerChannel(Role role, std::span<const double> values) {
  return {std::string(NameOf(role)),
          MakeTensor(values, {static_cast<std::int64_t>(values.size())})};
}

void AddDestinationOptions(CLI::App& command, DestinationOptions& options) {
  command
      .add_option("-o,--output", options.path,
                  ".npz or .safetensors; one result also .npy, .csv or -")
      ->type_name("FILE")
      ->group("Results");
  command
      .add_option("--output-format", options.output_format,
                  "of standard output (-)")
      ->check(CLI::IsMember({"npy", "csv"}))
      ->envname(EnvironmentName("--output-format"))
      ->capture_default_str()
      ->group("Results");
}

bool HoldsOne(const DestinationOptions& options) {
  if (options.path.empty()) return false;
  const auto format = FormatOf(options.path, PipeFormatOf(options));
  return format.ok() && !HoldsManyTensors(*format);
}

absl::StatusOr<Destination> Destination::Open(const DestinationOptions& options,
                                              const Contents& contents) {
  Destination destination(PipeFormatOf(options));
  if (options.path.empty()) return destination;
  absl::Status fits =
      CheckDestination(options.path, contents, destination.pipe_);
  if (!fits.ok()) return fits;
  auto file = OutputFile::Create(options.path);
  if (!file.ok()) return file.status();
  destination.file_.emplace(*std::move(file));
  return destination;
}

absl::Status Destination::Deliver(std::span<const NamedTensor> results,
                                  const std::string& line, ordered_json facts,
                                  OutputFormat format) {
  const bool shown = !file_.has_value();
  if (!shown) {
    absl::Status written = WriteTensors(*file_, results, pipe_);
    if (!written.ok() || file_->path() == "-") return written;
    facts["file"] = file_->path();
  }
  const bool text = format == OutputFormat::kTable;
  facts["tensors"] = JsonOf(results, shown);
  if (text && !shown) {
    Print(OneLine(file_->path(), results));
  } else {
    Print(shown ? SummaryOf(results) : ListOf(results), facts, format);
  }
  if (text && !line.empty()) Print(line + "\n");
  return absl::OkStatus();
}

}  // namespace batchnorm::cli
