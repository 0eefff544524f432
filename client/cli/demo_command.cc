#include "client/cli/demo_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <random>

#include "client/cli/demo_digits.h"
#include "client/cli/demo_gradient_check.h"
#include "client/cli/demo_report.h"
#include "client/cli/demo_training.h"
#include "client/cli/error_report.h"
#include "client/cli/interrupt.h"

namespace batchnorm::cli {
namespace {

constexpr char kExamples[] =
    "  bn demo\n"
    "  bn demo --seed 2 --epochs 20\n"
    "  bn demo --format json | jq .held_out_accuracy\n"
    "\n"
    "The 1,797 handwritten digits come along. The same seed gives the same\n"
    "losses, to the last bit. Exit code 1: fewer than 97 % of the held-out\n"
    "digits read right, or a gradient that differs from numerical\n"
    "differentiation.\n";

// Clears a line of a terminal.
constexpr char kClearLine[] = "\r\033[K";

// One of 2^32, so that demos at the same time do not share sessions.
std::string NewPrefix() {
  return fmt::format("demo/{:08x}", std::random_device()());
}

// The live line while batches pass.
class BatchLine {
 public:
  explicit BatchLine(std::ostream* terminal) : terminal_(terminal) {}

  void Show(const std::string& text) const {
    if (terminal_ != nullptr) *terminal_ << kClearLine << text << std::flush;
  }
  void Clear() const { Show(""); }

 private:
  std::ostream* terminal_;
};

class Demo {
 public:
  Demo(const DemoOptions& options, const client::Client& client,
       const DemoOutput& output)
      : options_(options),
        client_(client),
        output_(output),
        line_(output.progress) {}

  absl::StatusOr<bool> Run() {
    const auto digits = Load();
    if (!digits.ok()) return digits.status();
    auto passes = TrainAndCheck(*digits);
    if (options_.keep) return passes;
    absl::Status deleted = DeleteSessions(client_, prefix_);
    if (passes.ok() && !deleted.ok()) return deleted;
    return passes;
  }

 private:
  absl::StatusOr<Digits> Load() const {
    const auto path = FindDigits(options_.data);
    if (!path.ok()) return path.status();
    return ReadDigits(*path);
  }

  absl::StatusOr<bool> TrainAndCheck(const Digits& digits) {
    Show(Introduction(digits.size(), prefix_));
    const auto report = Train(client_, digits, Training(), Observer());
    line_.Clear();
    if (!report.ok()) return report.status();
    Show(AccuracyLine(*report) + CallTable(*report));
    const auto errors = CheckGradients(client_, report->probe);
    if (!errors.ok()) return errors.status();
    Show(GradientTable(report->probe, *errors) + StatisticsTable(*report));
    if (!options_.no_next) Show(Next());
    if (output_.format == OutputFormat::kJson) {
      output_.result << DemoJson(*report, *errors);
    } else if (output_.format == OutputFormat::kCsv) {
      output_.result << DemoCsv(*report);
    }
    return IsAccurate(*report) && Passes(*errors);
  }

  TrainingOptions Training() const {
    return {.session_prefix = prefix_,
            .seed = options_.seed,
            .epochs = options_.epochs};
  }

  TrainingObserver Observer() const {
    return {.on_batch =
                [this](int epoch, std::size_t batch, std::size_t batches) {
                  line_.Show(fmt::format("  {:>5}   batch {} of {}", epoch,
                                         batch + 1, batches));
                },
            .on_epoch =
                [this](const EpochReport& epoch) {
                  line_.Clear();
                  Show(EpochLine(epoch));
                },
            .is_cancelled = output_.is_cancelled};
  }

  std::string Next() const {
    const std::string& at = output_.server_flag;
    const std::string look =
        options_.keep
            ? fmt::format("  bn session show {}/bn1{}\n", prefix_, at)
            : fmt::format("  bn demo --keep{0} && bn session list{0}\n", at);
    return fmt::format(
        "\ntry next\n{}"
        "  bn demo --seed {}{}\n"
        "  bn eval --help       # your own numbers\n"
        "  bn compare --help    # your own kernel's results\n",
        look, options_.seed + 1, at);
  }

  void Show(const std::string& text) const {
    if (output_.format != OutputFormat::kTable) return;
    output_.result << text << std::flush;
  }

  const DemoOptions& options_;
  const client::Client& client_;
  const DemoOutput& output_;
  const BatchLine line_;
  const std::string prefix_ = NewPrefix();
};

absl::StatusOr<int> RunAtTerminal(const DemoOptions& options,
                                  const GlobalOptions& global) {
  // Whether there is a server is told soon; one that goes away while the
  // network learns may come back.
  const auto impatient = Connect(global);
  if (!impatient.ok()) return impatient.status();
  const auto health = impatient->CheckHealth();
  if (!health.ok()) return health.status();
  const auto client = Connect(global, Patience::kLong);
  if (!client.ok()) return client.status();
  const DeferredInterrupt interrupt;
  const bool usual_server = global.server == GlobalOptions().server;
  const DemoOutput output = {
      .result = std::cout,
      .progress = isatty(STDERR_FILENO) == 1 ? &std::cerr : nullptr,
      .format = FormatOf(global),
      .server_flag = usual_server ? "" : " --server " + global.server,
      .is_cancelled = [&interrupt] { return interrupt.came(); }};
  const auto passes = RunDemo(options, *client, output);
  if (interrupt.came()) return kInterruptedExitCode;
  if (!passes.ok()) return passes.status();
  return *passes ? kYes : kNo;
}

}  // namespace

void AddDemoCommand(const CommandRegistry& registry) {
  const auto options = std::make_shared<DemoOptions>();
  CLI::App* const demo = AddSubcommand(
      registry.app, "demo", "Trains a small network on real digits by a server",
      kExamples);
  demo->add_option("--data", options->data,
                   "the digits, if not those that come along")
      ->type_name("FILE");
  demo->add_option("--seed", options->seed, "of first weights and order")
      ->capture_default_str();
  demo->add_option("--epochs", options->epochs, "times through the digits")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  demo->add_flag("--keep", options->keep, "do not delete the sessions");
  demo->add_flag("--no-next", options->no_next, "do not say what to try next");
  demo->callback(
      [options, &global = registry.global, &action = registry.action] {
        action = [options, &global] { return RunAtTerminal(*options, global); };
      });
}

absl::StatusOr<bool> RunDemo(const DemoOptions& options,
                             const client::Client& client,
                             const DemoOutput& output) {
  return Demo(options, client, output).Run();
}

}  // namespace batchnorm::cli
