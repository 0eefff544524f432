#include "tests/benchmarks/options.h"

#include <CLI/CLI.hpp>

namespace batchnorm::benchmark {
namespace {

constexpr char kDescription[] =
    "The kernel beside a memory copy, plain f64 loops, oneDNN and PyTorch, in\n"
    "turn. tests/benchmarks/README.md says what is measured.";

constexpr char kFooter[] =
    "Ends with one line a target: target NAME VALUE BOUND met, or missed "
    "(with\n"
    "--format json these lines go to standard error). Progress goes to "
    "standard\n"
    "error.\n"
    "\n"
    "Exit codes: 0 measured, whether targets are met or missed; 1 a peer "
    "failed\n"
    "or disagrees; 2 usage.";

}  // namespace

std::optional<int> ParseOptions(int argc, char** argv, Options& options) {
  CLI::App app(kDescription);
  app.footer(kFooter);
  std::string format = "table";
  bool no_pytorch = false;
  options.python = BN_SOURCE_DIR "/build/pytorch/bin/python";
  app.add_flag("--quick", options.is_quick,
               "A representative subset, under 45 seconds");
  app.add_option("--format", format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Numbers of threads")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--only", options.only,
                 "Problems in whose `SET/NAME LAYOUT DIRECTION` this regular "
                 "expression is found");
  app.add_option("--rounds", options.rounds,
                 "Rounds a problem (default: 5; 7 up to 1 MiB; quick 3)")
      ->check(CLI::Range(1, 1000));
  app.add_option("--python", options.python,
                 "The Python that has PyTorch (default: the one of "
                 "tests/benchmarks/install-pytorch)");
  app.add_flag("--no-pytorch", no_pytorch, "Leave PyTorch out");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.is_json = format == "json";
  options.has_pytorch = !no_pytorch;
  return std::nullopt;
}

}  // namespace batchnorm::benchmark
