#include "tests/benchmarks/builds/compare_options.h"

#include <CLI/CLI.hpp>

namespace batchnorm::benchmark {
namespace {

constexpr char kDescription[] =
    "Two builds of the kernel, called in turn on the same arrays.\n"
    "tests/benchmarks/README.md says how they are made.";

constexpr char kFooter[] =
    "Prints the time of AFTER over that of BEFORE, a line a problem: below 1,\n"
    "AFTER is quicker. The last line is their geometric mean.\n"
    "\n"
    "Exit codes: 0 measured; 1 a build cannot be loaded; 2 usage.";

}  // namespace

std::optional<int> ParseCompareOptions(int argc, char** argv,
                                       CompareOptions& options) {
  CLI::App app(kDescription);
  app.footer(kFooter);
  std::string format = "table";
  app.add_option("BEFORE", options.before, "A kernel_build.so")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("AFTER", options.after, "Another one")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--only", options.problems.only,
                 "Problems in whose `SET/NAME LAYOUT DIRECTION` this regular "
                 "expression is found");
  app.add_flag("--quick", options.problems.is_quick, "A representative subset");
  app.add_option("--kinds", options.kinds,
                 "f32, f16, bf16 or wide, f32 that defeats the certificate")
      ->delimiter(',')
      ->check(CLI::IsMember({"f32", "f16", "bf16", "wide"}))
      ->capture_default_str();
  app.add_option("--threads", options.problems.threads, "Numbers of threads")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--rounds", options.problems.rounds,
                 "Rounds a problem (default: 15)")
      ->check(CLI::Range(1, 1000));
  app.add_option("--format", format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.problems.is_json = format == "json";
  return std::nullopt;
}

}  // namespace batchnorm::benchmark
