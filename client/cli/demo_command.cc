#include "client/cli/demo_command.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <ostream>
#include <random>

#include "client/cli/demo_digits.h"
#include "client/cli/demo_gradient_check.h"
#include "client/cli/demo_report.h"
#include "client/cli/demo_training.h"

namespace batchnorm::cli {
namespace {

constexpr char kFooter[] =
    "Needs a running server and nothing else: the 1,797 handwritten digits "
    "come\n"
    "along. Two runs with one seed print the same losses, to the last bit.\n"
    "Exit code 1: accuracy below 0.97, or a gradient that is wrong.";

// Clears a line of a terminal.
constexpr char kClearLine[] = "\r\033[K";

// One of 2^32, so that demos at the same time do not share sessions.
std::string NewPrefix() {
  return fmt::format("demo/{:08x}", std::random_device()());
}

class Demo {
 public:
  Demo(const DemoFlags& flags, const client::Client& client,
       const DemoOutput& output)
      : flags_(flags), client_(client), output_(output) {}

  absl::StatusOr<bool> Run() {
    const auto digits = Load();
    if (!digits.ok()) return digits.status();
    Print(
        fmt::format("training: a batch-norm layer's Forward and Backward are "
                    "calls; sessions {0}/bn1, {0}/bn2\n",
                    prefix_));
    auto result = TrainAndCheck(*digits);
    if (flags_.keep) return result;
    const absl::Status deleted = DeleteSessions(client_, prefix_);
    if (result.ok() && !deleted.ok()) return deleted;
    return result;
  }

 private:
  absl::StatusOr<Digits> Load() {
    const auto path = FindDigits(flags_.data);
    if (!path.ok()) return path.status();
    auto digits = ReadDigits(*path);
    if (!digits.ok()) return digits;
    Print(fmt::format("data: {} handwritten digits of 8 x 8 pixels from {}\n",
                      digits->size(), *path));
    return digits;
  }

  absl::StatusOr<bool> TrainAndCheck(const Digits& digits) {
    Print(EpochHeader());
    const auto report = Train(client_, digits, Options(), Observer());
    ClearProgress();
    if (!report.ok()) return report.status();
    Print(AccuracyLine(*report));
    Print("\ncalls\n" + CallTable(*report));
    Print("\ngradients, against numerical differentiation\n");
    const auto errors = CheckGradients(client_, report->probe);
    if (!errors.ok()) return errors.status();
    Print(GradientTable(report->probe, *errors));
    Print("\nrunning statistics\n" + StatisticsTable(*report));
    if (!flags_.no_next) Print(Next());
    if (output_.json) output_.result << DemoJson(*report, *errors);
    return report->accuracy() >= kAccuracyBound && Passes(*errors);
  }

  TrainingOptions Options() const {
    return {.session_prefix = prefix_,
            .seed = flags_.seed,
            .epochs = flags_.epochs};
  }

  TrainingObserver Observer() {
    return {.on_batch =
                [this](int epoch, std::size_t batch, std::size_t batches) {
                  ShowProgress(fmt::format("  {:>5}   batch {} of {}", epoch,
                                           batch + 1, batches));
                },
            .on_epoch =
                [this](const EpochReport& epoch) {
                  ClearProgress();
                  Print(EpochLine(epoch));
                }};
  }

  std::string Next() const {
    const std::string look =
        flags_.keep ? fmt::format("  bn session show {}/bn1\n", prefix_)
                    : "  bn demo --keep            # leaves the sessions: bn "
                      "session list\n";
    return "\ntry next\n" + look +
           "  bn demo --seed 2          # other weights, other order\n"
           "  bn eval --help            # your own numbers\n"
           "  bn compare --help         # your own kernel's results\n";
  }

  void Print(const std::string& text) {
    if (!output_.json) output_.result << text << std::flush;
  }

  void ShowProgress(const std::string& line) {
    if (output_.progress) *output_.progress << kClearLine << line << std::flush;
  }

  void ClearProgress() { ShowProgress(""); }

  const DemoFlags& flags_;
  const client::Client& client_;
  const DemoOutput& output_;
  const std::string prefix_ = NewPrefix();
};

}  // namespace

void AddDemoFlags(CLI::App& demo, DemoFlags& flags) {
  demo.add_option("--data", flags.data,
                  "The digits (default: BN_DEMO_DATA, or as installed)")
      ->type_name("FILE");
  demo.add_option("--seed", flags.seed, "Of weights and order")
      ->capture_default_str()
      ->type_name("N");
  demo.add_option("--epochs", flags.epochs, "Times through the data")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  demo.add_flag("--keep", flags.keep, "Do not delete the sessions at the end");
  demo.add_flag("--no-next", flags.no_next, "Do not say what to try next");
  demo.footer(kFooter);
}

absl::StatusOr<bool> RunDemo(const DemoFlags& flags,
                             const client::Client& client,
                             const DemoOutput& output) {
  return Demo(flags, client, output).Run();
}

}  // namespace batchnorm::cli
