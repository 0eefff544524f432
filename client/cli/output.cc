#include "client/cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/cli/tensor_text.h"

namespace batchnorm::cli {
namespace {

using nlohmann::ordered_json;

// Columns that a text takes: its UTF-8 characters, all of them one wide.
std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(),
      [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string Upper(std::string text) {
  for (char& c : text) {
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return text;
}

std::string Styled(const std::string& text, Style style, bool color) {
  if (!color || style == Style::kPlain) return text;
  const char* const code = style == Style::kGood ? "32" : "31;1";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

std::string Padded(const Cell& cell, std::size_t width, bool right,
                   bool color) {
  const std::string space(width - Width(cell.text), ' ');
  const std::string text = Styled(cell.text, cell.style, color);
  return right ? space + text : text + space;
}

std::string WithoutTrailingSpace(const std::string& line) {
  return line.substr(0, line.find_last_not_of(' ') + 1);
}

std::string Quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

}  // namespace

Cell::Cell(double value)
    : text(fmt::format("{:.4g}", value)), exact(ExactText(value)) {}

Table::Table(std::vector<std::string> titles) : titles_(std::move(titles)) {
  for (std::string& title : titles_) {
    right_.push_back(title.starts_with('>'));
    if (right_.back()) title.erase(0, 1);
  }
}

void Table::AddRow(std::vector<Cell> row) { rows_.push_back(std::move(row)); }

std::string Table::AsText(bool color) const {
  std::vector<std::size_t> widths;
  std::vector<Cell> heads;
  for (std::size_t i = 0; i < titles_.size(); ++i) {
    heads.emplace_back(Upper(titles_[i]));
    widths.push_back(Width(titles_[i]));
    for (const auto& row : rows_) {
      widths[i] = std::max(widths[i], Width(row[i].text));
    }
  }
  std::string text;
  const auto add = [&](const std::vector<Cell>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += Padded(row[i], widths[i], right_[i], color);
    }
    text += WithoutTrailingSpace(line) + '\n';
  };
  add(heads);
  for (const auto& row : rows_) add(row);
  return text;
}

std::string Table::AsCsv() const {
  std::string text = fmt::format("{}\n", fmt::join(titles_, ","));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += Quoted(row[i].exact);
      text += i + 1 < row.size() ? ',' : '\n';
    }
  }
  return text;
}

ordered_json JsonNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

ordered_json JsonNumbers(std::span<const double> values) {
  auto numbers = ordered_json::array();
  for (const double value : values) numbers.push_back(JsonNumber(value));
  return numbers;
}

bool ShowsColor() {
  const char* const refused = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 &&
         (refused == nullptr || *refused == '\0') && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

void Print(const Table& table, const ordered_json& json, OutputFormat format) {
  switch (format) {
    case OutputFormat::kTable:
      return Print(table.AsText(ShowsColor()));
    case OutputFormat::kCsv:
      return Print(table.AsCsv());
    case OutputFormat::kJson:
      return Print(
          json.dump(2, ' ', false, ordered_json::error_handler_t::replace) +
          "\n");
  }
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void PrintNote(std::string_view text) {
  fmt::print(stderr, "note: {}\n", text);
}

}  // namespace batchnorm::cli
