#include "client/cli/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "client/cli/diagnosis.h"
#include "client/cli/tensor_text.h"
#include "proto/wire/tensor_values.h"

namespace batchnorm::cli {
namespace {

// Splits off what stands before the next `separator`, which is dropped.
std::string_view TakeUntil(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view taken = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return taken;
}

std::string_view Trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::optional<double> Number(std::string_view cell) {
  double value = 0;
  const absl::string_view text(cell.data(), cell.size());
  if (!absl::SimpleAtod(text, &value)) return std::nullopt;
  return value;
}

std::size_t CountCells(std::string_view line) {
  return static_cast<std::size_t>(std::count(line.begin(), line.end(), ',')) +
         1;
}

bool IsHeader(std::string_view line) {
  while (!line.empty()) {
    if (Number(TakeUntil(line, ','))) return false;
  }
  return true;
}

absl::Status NotANumber(std::size_t line, std::size_t column,
                        std::string_view cell) {
  constexpr std::size_t kMostShown = 40;
  std::string shown;
  for (const char c : cell.substr(0, kMostShown)) {
    shown += c >= ' ' && c <= '~' ? c : '?';
  }
  return ToStatus({fmt::format("line {}, column {}: '{}' is not a number", line,
                               column, shown),
                   "cells are decimal numbers, nan or inf, separated by commas",
                   "only the first line may be a header"});
}

absl::Status Ragged(std::size_t line, std::size_t cells, std::size_t expected) {
  return ToStatus(
      {fmt::format("line {} has {} cells, expected {}", line, cells, expected),
       "a tensor is rectangular: all lines are equally long",
       "look for a comma too many or too few, or an unfinished last line"});
}

absl::Status AppendRow(std::string_view line, std::size_t number,
                       std::vector<double>& values) {
  const std::size_t cells = CountCells(line);
  for (std::size_t column = 1; column <= cells; ++column) {
    const std::string_view cell = TakeUntil(line, ',');
    const auto value = Number(cell);
    if (!value) return NotANumber(number, column, Trimmed(cell));
    values.push_back(*value);
  }
  return absl::OkStatus();
}

// Drops the white space at the end, so that a last line may but need not end
// with a line break.
std::string_view WithoutTrailingSpace(std::string_view bytes) {
  const std::size_t last = bytes.find_last_not_of(" \t\r\n");
  return bytes.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

absl::StatusOr<std::int64_t> Columns(const Tensor& tensor) {
  if (tensor.shape.size() <= 1) return 1;
  if (tensor.shape.size() == 2) return tensor.shape[1];
  return ToStatus({fmt::format("a tensor of shape {} cannot be written as csv",
                               ShapeText(tensor.shape)),
                   "lines and columns are two dimensions",
                   "write .npy, .npz or .safetensors"});
}

}  // namespace

absl::StatusOr<Tensor> ParseCsv(std::string_view bytes, Dtype dtype) {
  std::string_view rest = WithoutTrailingSpace(bytes);
  std::vector<double> values;
  std::size_t columns = 0;
  std::int64_t rows = 0;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::string_view line = TakeUntil(rest, '\n');
    if (number == 1) {
      columns = CountCells(line);
      if (IsHeader(line)) continue;
    }
    if (CountCells(line) != columns) {
      return Ragged(number, CountCells(line), columns);
    }
    absl::Status row = AppendRow(line, number, values);
    if (!row.ok()) return row;
    ++rows;
  }
  if (rows == 0)
    return ToStatus(
        {"no numbers", "the file is empty", "copy or write it again"});
  return MakeTensor(dtype, values, {rows, static_cast<std::int64_t>(columns)});
}

absl::StatusOr<std::string> EncodeCsv(const Tensor& tensor) {
  const auto columns = Columns(tensor);
  if (!columns.ok()) return columns.status();
  std::string text;
  std::int64_t column = 0;
  for (const double value : ToDoubles(tensor)) {
    text += ExactText(value, tensor.dtype);
    column = (column + 1) % *columns;
    text += column == 0 ? '\n' : ',';
  }
  return text;
}

}  // namespace batchnorm::cli
