#include "client/cli/snapshot_command.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "client/cli/error_report.h"
#include "client/cli/file_io.h"
#include "client/cli/layer_options.h"
#include "client/cli/name_option.h"
#include "client/cli/output.h"
#include "client/cli/session_view.h"
#include "client/cli/snapshot_file.h"

namespace batchnorm::cli {
namespace {

struct ExportOptions {
  std::string name;
  std::string file;
};

struct ImportOptions {
  client::ImportSessionArgs args;
  std::string file;
  std::string prefix;
  std::uint64_t step = 0;
  LayerOptions layer;
};

absl::StatusOr<int> RunAcquire(const client::AcquireSessionArgs& args,
                               const GlobalOptions& global) {
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto acquired = client->AcquireSession(args);
  if (!acquired.ok()) return acquired.status();
  Table table({"property", "value"});
  table.AddRow({std::string("writer token"), acquired->writer_token});
  table.AddRow({std::string("last step"), std::to_string(acquired->last_step)});
  const nlohmann::ordered_json json = {{"writer_token", acquired->writer_token},
                                       {"last_step", acquired->last_step}};
  Print(table, json, FormatOf(global));
  return kYes;
}

absl::StatusOr<int> RunExport(const ExportOptions& options,
                              const GlobalOptions& global) {
  const auto format = SnapshotFormat(options.file);
  if (!format.ok()) return format.status();
  auto file = OutputFile::Create(options.file);
  if (!file.ok()) return file.status();
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  const auto snapshot = client->ExportSession(options.name);
  if (!snapshot.ok()) return snapshot.status();
  const auto bytes = EncodeSnapshot(*snapshot, *format);
  if (!bytes.ok()) return bytes.status();
  absl::Status written = file->Commit(*bytes);
  if (!written.ok()) return written;
  if (options.file != "-") {
    PrintNote(
        fmt::format("{}: step {}, {} channels, {} batches in {}", options.name,
                    snapshot->last_step, snapshot->config.channels,
                    snapshot->running_statistics.batch_count, options.file));
  }
  return kYes;
}

// What the file does not say: a layer of others has statistics alone.
absl::Status Complete(const ImportOptions& options, LoadedSnapshot& loaded) {
  if (loaded.is_ours) return absl::OkStatus();
  auto layer = NormalizationOf(options.layer);
  if (!layer.ok()) return layer.status();
  for (const std::string& note : layer->notes) PrintNote(note);
  loaded.snapshot.config.normalization = layer->normalization;
  loaded.snapshot.last_step = options.step;
  return absl::OkStatus();
}

absl::StatusOr<LoadedSnapshot> ReadSnapshot(const ImportOptions& options) {
  const auto format = SnapshotFormat(options.file);
  if (!format.ok()) return format.status();
  const auto bytes = ReadFile(options.file);
  if (!bytes.ok()) return bytes.status();
  auto loaded = ParseSnapshot(*bytes, *format, options.prefix);
  if (!loaded.ok()) return Of(options.file, loaded.status());
  absl::Status complete = Complete(options, *loaded);
  if (!complete.ok()) return complete;
  for (const std::string& note : loaded->notes) PrintNote(note);
  return loaded;
}

absl::StatusOr<int> RunImport(const ImportOptions& options,
                              const GlobalOptions& global) {
  auto loaded = ReadSnapshot(options);
  if (!loaded.ok()) return loaded.status();
  const auto client = Connect(global);
  if (!client.ok()) return client.status();
  client::ImportSessionArgs args = options.args;
  args.snapshot = std::move(loaded->snapshot);
  const auto session = client->ImportSession(args);
  if (!session.ok()) return session.status();
  Print(SessionDetails(*session, /*with_spark=*/false), JsonOf(*session),
        FormatOf(global));
  return kYes;
}

void AddAcquire(CLI::App& session, const CommandRegistry& registry) {
  const auto args = std::make_shared<client::AcquireSessionArgs>();
  CLI::App* const command = AddSubcommand(
      session, "acquire", "Becomes a session's writer, and fences the former",
      "  bn session acquire enc/bn1 --at-least-step 1200\n"
      "  export BN_WRITER_TOKEN=$(bn session acquire enc/bn1 --format json |"
      "\n                           jq -r .writer_token)\n");
  command->add_option("NAME", args->name, "of the session")
      ->required()
      ->check(PrintableAscii());
  command->add_option("--at-least-step", args->at_least_step,
                      "fail if the session is behind this step");
  command->add_option("--rank", args->rank, "of the writer (0)");
  command->callback([args, registry] {
    registry.action = [args, &global = registry.global] {
      return RunAcquire(*args, global);
    };
  });
}

void AddExport(CLI::App& session, const CommandRegistry& registry) {
  const auto options = std::make_shared<ExportOptions>();
  CLI::App* const command = AddSubcommand(
      session, "export", "Writes a session to a file",
      "  bn session export enc/bn1 bn1.safetensors   # torch reads it, too\n"
      "  bn session export enc/bn1 bn1.npz\n");
  command->add_option("NAME", options->name, "of the session")
      ->required()
      ->check(PrintableAscii());
  command->add_option("FILE", options->file, ".safetensors or .npz")
      ->required();
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunExport(*options, global);
    };
  });
}

void AddImport(CLI::App& session, const CommandRegistry& registry) {
  const auto options = std::make_shared<ImportOptions>();
  CLI::App* const command = AddSubcommand(
      session, "import", "Creates or sets a session from a file",
      "  bn session import enc/bn1 bn1.safetensors\n"
      "  bn session import enc/bn1 bn1.npz --replace\n"
      "  bn session import stem resnet18.safetensors --prefix bn1 \\\n"
      "      --preset torch --step 0     # a state_dict of PyTorch\n");
  command->add_option("NAME", options->args.name, "of the session")
      ->required()
      ->check(PrintableAscii());
  command->add_option("FILE", options->file, ".safetensors or .npz")
      ->required();
  command->add_flag("--replace", options->args.replace,
                    "the session may exist: its statistics and step are set");
  command
      ->add_option("--writer-token", options->args.writer_token,
                   "of a writer that is to stay one")
      ->envname(EnvironmentName("--writer-token"));
  command->add_option("--prefix", options->prefix,
                      "of the layer's names in a file of several");
  command->add_option("--step", options->step,
                      "the last step (0), if the file does not say it");
  AddLayerOptions(*command, options->layer);
  command->callback([options, registry] {
    registry.action = [options, &global = registry.global] {
      return RunImport(*options, global);
    };
  });
}

}  // namespace

void AddSnapshotCommands(CLI::App& session, const CommandRegistry& registry) {
  AddAcquire(session, registry);
  AddExport(session, registry);
  AddImport(session, registry);
}

}  // namespace batchnorm::cli
