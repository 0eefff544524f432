// What bn prints: tables for people, JSON and CSV for programs.
//
// JSON numbers have up to 17 digits, so that they read back as the same double.
// JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and
// "-Infinity", as in protobuf's JSON.
#ifndef BATCHNORMD_CLIENT_CLI_OUTPUT_H_
#define BATCHNORMD_CLIENT_CLI_OUTPUT_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace batchnorm::cli {

enum class OutputFormat : std::uint8_t { kTable, kJson, kCsv };

enum class Style : std::uint8_t { kPlain, kGood, kBad };

struct Cell {
  // NOLINTNEXTLINE(google-explicit-constructor): cells are written as text.
  Cell(std::string shown, Style how = Style::kPlain)
      : text(shown), exact(std::move(shown)), style(how) {}
  // A number: short for people, exact for programs.
  explicit Cell(double value);

  std::string text;   // in tables
  std::string exact;  // in csv
  Style style = Style::kPlain;
};

// Rows under titles. A title that begins with '>' (which is not shown) aligns
// its column to the right. Thread-compatible.
class Table {
 public:
  explicit Table(std::vector<std::string> titles);

  // REQUIRES: as many cells as titles.
  void AddRow(std::vector<Cell> row);

  // Aligned columns under upper-case titles.
  std::string AsText(bool color) const;
  // Titles, then rows; cells with commas, quotes or line breaks are quoted.
  std::string AsCsv() const;

 private:
  std::vector<std::string> titles_;
  std::vector<bool> right_;
  std::vector<std::vector<Cell>> rows_;
};

nlohmann::ordered_json JsonNumber(double value);
nlohmann::ordered_json JsonNumbers(std::span<const double> values);

// Whether standard output is a terminal that shows colour: NO_COLOR unset or
// empty, TERM not dumb.
bool ShowsColor();

// Prints the table in a text format, or the JSON.
void Print(const Table& table, const nlohmann::ordered_json& json,
           OutputFormat format);

// Writes to standard output.
void Print(std::string_view text);

// A line for the person at standard error: "note: ...".
void PrintNote(std::string_view text);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_OUTPUT_H_
