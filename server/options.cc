#include "server/options.h"

#include <CLI/CLI.hpp>
#include <array>
#include <cstdint>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "server/config_file.h"
#include "server/configuration.h"
#include "server/rpc/access_control.h"
#include "server/rpc/listener.h"

namespace batchnorm {
namespace {

constexpr char kDescription[] =
    "Batch normalization and its gradients, exactly, over gRPC.\n"
    "\n"
    "Serves batchnorm.v1.BatchNormService, grpc.health.v1.Health and server\n"
    "reflection. Without --tls-cert, --tls-client-ca or --tokens "
    "connections\n"
    "are neither encrypted nor authenticated: listen on loopback or a Unix\n"
    "socket then, or behind a proxy that does both.";

constexpr char kFooter[] =
    "Sizes take KiB, MiB, GiB; durations s, m, h (plain numbers: bytes and\n"
    "seconds). Every flag can be given by the environment variable beside it,\n"
    "and by its name in a TOML file (max-sessions = 1000): a flag outranks "
    "its\n"
    "variable, and that the file.\n"
    "\n"
    "Example:\n"
    "  batchnormd --listen localhost:50051 --listen unix:/run/bn.sock \\\n"
    "             --kept-input-bytes 4GiB --log-format json\n"
    "\n"
    "SIGTERM: health says NOT_SERVING, calls are served for --drain-seconds\n"
    "more, calls in flight finish. SIGINT: the same without the wait. A "
    "second\n"
    "signal ends the process at once.\n"
    "\n"
    "Exit codes: 0 drained; 1 an address could not be bound, or the disk\n"
    "failed; 2 a flag, a variable or the file is wrong.";

const std::map<std::string, storage::Durability> kDurabilities = {
    {"full", storage::Durability::kFull},
    {"normal", storage::Durability::kNormal},
    {"off", storage::Durability::kOff}};

// 1073741824 is "1GiB".
std::string SizeText(std::int64_t bytes) {
  constexpr std::array<std::pair<int, const char*>, 3> kUnits = {
      {{30, "GiB"}, {20, "MiB"}, {10, "KiB"}}};
  for (const auto& [shift, unit] : kUnits) {
    const std::int64_t size = std::int64_t{1} << shift;
    if (bytes > 0 && bytes % size == 0) {
      return std::to_string(bytes / size) + unit;
    }
  }
  return std::to_string(bytes);
}

// A number from `least` to `most`.
CLI::Validator Between(double least, double most) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        double number = 0;
        if (CLI::detail::lexical_cast(text, number) && number >= least &&
            number <= most) {
          return "";
        }
        return absl::StrFormat("expected a number from %.0f to %.0f, got %s",
                               least, most, text);
      },
      "");
}

CLI::Validator AtLeast(double least) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        double number = 0;
        if (CLI::detail::lexical_cast(text, number) && number >= least) {
          return "";
        }
        return absl::StrFormat("expected a number of at least %.0f, got %s",
                               least, text);
      },
      "");
}

std::string CheckAddress(std::string& address) {
  return std::string(rpc::CheckForm(address).message());
}

std::string CheckHostPort(std::string& address) {
  const bool fits = !rpc::IsUnix(address) && CheckAddress(address).empty();
  return fits ? "" : "expected HOST:PORT, got '" + address + "'";
}

class Flags {
 public:
  explicit Flags(Options& options)
      : options_(options),
        idle_ttl_seconds_(absl::ToDoubleSeconds(options.server.idle_ttl)),
        drain_seconds_(absl::ToDoubleSeconds(options.drain)),
        barrier_seconds_(
            absl::ToDoubleSeconds(options.server.barrier_timeout)) {
    // Scripts append to each other's flags: the last one holds.
    app_.option_defaults()->multi_option_policy(
        CLI::MultiOptionPolicy::TakeLast);
    app_.set_help_flag("-h,--help", "Show this and exit")
        ->group(kCommandLineGroup);
    app_.set_version_flag("--version", "batchnormd " BN_VERSION,
                          "Show the version and exit")
        ->group(kCommandLineGroup);
    app_.footer(kFooter);
    AddListening();
    AddAccess();
    AddLimits();
    AddStorage();
    AddLifetime();
    AddLog();
    AddConfiguration();
  }

  std::optional<int> Parse(int argc, char** argv) {
    try {
      configuration_.ApplyFlags(argc, argv);
      configuration_.ApplyEnvironment();
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == 0) return app_.exit(error);
      return Refuse({error.what()});
    }
    if (!config_path_.empty()) {
      const ConfigFile file = ReadConfigFile(config_path_);
      const std::vector<std::string> mistakes = MistakesIn(file);
      if (!mistakes.empty()) return Refuse(mistakes);
      configuration_.ApplyFile(file);
    }
    Convert();
    return Show();
  }

 private:
  // All of the file's mistakes, those that a flag or variable hides today too.
  static std::vector<std::string> MistakesIn(const ConfigFile& file) {
    Options scratch;
    return Flags(scratch).configuration_.ApplyFile(file);
  }

  static int Refuse(const std::vector<std::string>& mistakes) {
    for (const std::string& mistake : mistakes) {
      std::cerr << "batchnormd: " << mistake << "\n";
    }
    std::cerr << "hint: batchnormd --help lists the flags and what they take\n";
    return 2;
  }

  void Convert() {
    options_.server.idle_ttl = absl::Seconds(idle_ttl_seconds_);
    options_.drain = absl::Seconds(drain_seconds_);
    options_.server.barrier_timeout = absl::Seconds(barrier_seconds_);
    options_.storage.in_memory = store_ == "memory";
    options_.storage.durability = kDurabilities.at(durability_);
    options_.log_format =
        log_format_ == "json" ? LogFormat::kJson : LogFormat::kHuman;
  }

  // What was asked for instead of serving.
  std::optional<int> Show() const {
    if (print_table_) {
      std::cout << MarkdownTable(app_);
    } else if (print_config_) {
      std::cout << configuration_.InForce();
    } else if (check_config_) {
      return Check();
    } else {
      return std::nullopt;
    }
    return 0;
  }

  // Certificates and tokens are read as they would be to serve.
  int Check() const {
    const auto access = rpc::AccessControl::Start(options_.server.access,
                                                  options_.server.listen);
    if (!access.ok()) return Refuse({std::string(access.status().message())});
    std::cout << (config_path_.empty() ? "flags and variables" : config_path_)
              << ": ok\n";
    return 0;
  }

  void AddListening() {
    app_.add_option("--listen", options_.server.listen,
                    "HOST:PORT (port 0: any free one) or unix:PATH;\n"
                    "repeat it, or use commas, to listen on several")
        ->default_str(options_.server.listen.front())
        ->delimiter(',')
        ->check(CLI::Validator(&CheckAddress, ""))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->envname("BN_LISTEN")
        ->type_name("ADDRESS")
        ->group("Listening");
    app_.add_option("--port-file", options_.port_file,
                    "Once serving, write the addresses to this file,\n"
                    "one a line, with their real ports")
        ->envname("BN_PORT_FILE")
        ->type_name("FILE")
        ->group("Listening");
    app_.add_option("--metrics-listen", options_.metrics_listen,
                    "Prometheus metrics by plain HTTP, for operators\n"
                    "only, on this HOST:PORT; none by default")
        ->check(CLI::Validator(&CheckHostPort, ""))
        ->envname("BN_METRICS_LISTEN")
        ->type_name("ADDRESS")
        ->group("Listening");
    app_.add_option("--reflection", options_.server.reflection,
                    "Let clients ask for the schema (grpcurl, buf curl)")
        ->default_str("true")
        ->envname("BN_REFLECTION")
        ->type_name("true|false")
        ->group("Listening");
  }

  void AddAccess() {
    AddFile("--tls-cert", "BN_TLS_CERT", options_.server.access.tls.chain,
            "The server's certificate and those that signed it,\n"
            "PEM; read again when it changes. TCP is TLS then");
    AddFile("--tls-key", "BN_TLS_KEY", options_.server.access.tls.key,
            "The certificate's key, PEM without a passphrase");
    AddFile("--tls-client-ca", "BN_TLS_CLIENT_CA",
            options_.server.access.tls.client_ca,
            "Clients need a certificate signed by one of these;\n"
            "without tokens its common name is the tenant");
    AddFile("--tokens", "BN_TOKENS", options_.server.access.token_file,
            "Calls need a token of this file: lines of\n"
            "TENANT TOKEN [EXPIRY]; read again when it changes");
  }

  void AddLimits() {
    AddCount("--threads", "BN_THREADS", options_.server.threads,
             "Threads that compute; 0 is one a core")
        ->check(Between(0, rpc::kMaxThreads));
    AddCount("--tensor-threads", "BN_TENSOR_THREADS",
             options_.server.tensor_threads,
             "Threads that share a large tensor; 0 is one a core")
        ->check(Between(0, rpc::kMaxThreads));
    AddCount("--max-sessions", "BN_MAX_SESSIONS", options_.server.max_sessions,
             "Sessions that may exist at once")
        ->check(AtLeast(1));
    AddSize("--max-message-bytes", "BN_MAX_MESSAGE_BYTES",
            options_.server.max_message_bytes,
            "Largest message in either direction, below 2GiB")
        ->check(Between(rpc::kMinMessageBytes, rpc::kMaxMessageBytes));
    AddSize("--max-tensor-bytes", "BN_MAX_TENSOR_BYTES",
            options_.server.max_tensor_bytes, "Largest single tensor");
    AddSize("--max-bytes-in-flight", "BN_MAX_BYTES_IN_FLIGHT",
            options_.server.max_bytes_in_flight,
            "Request bytes worked on at once; what is more\n"
            "is refused with a RetryInfo");
    AddSize("--kept-input-bytes", "BN_KEPT_INPUT_BYTES",
            options_.server.kept_input_bytes,
            "Inputs kept for Backward, over all sessions");
    AddSize("--loaded-bytes", "BN_LOADED_BYTES", options_.server.loaded_bytes,
            "Sessions in memory, without kept inputs; those not\n"
            "used for long are read from the store again");
  }

  void AddStorage() {
    AddChoice("--store", "BN_STORE", store_, "sqlite|memory",
              "Where sessions are: in a file, or in memory only");
    app_.add_option("--data-dir", options_.storage.data_directory,
                    "Folder of the file, made if need be, one a server;\n"
                    "by default $STATE_DIRECTORY,\n"
                    "else $XDG_STATE_HOME/batchnormd,\n"
                    "else ~/.local/state/batchnormd")
        ->envname("BN_DATA_DIR")
        ->type_name("DIR")
        ->group("Storage");
    AddChoice("--durability", "BN_DURABILITY", durability_, "full|normal|off",
              "What an acknowledged step survives. full: a power\n"
              "failure. normal: a killed process, but a power\n"
              "failure may undo the last steps. off: the same,\n"
              "but a power failure may damage the file");
    AddSize("--log-room", "BN_LOG_ROOM", options_.storage.log_room,
            "Of the disk, taken at the start for the log of\n"
            "commits, which are quicker in a file that does not\n"
            "grow; 0: none")
        ->check(AtLeast(0))
        ->group("Storage");
  }

  void AddLifetime() {
    AddDuration("--idle-ttl", "BN_IDLE_TTL", idle_ttl_seconds_, "24h",
                "Forget sessions that are idle for longer: those\n"
                "without a name of your own, and all in memory only");
    AddDuration("--barrier-seconds", "BN_BARRIER_SECONDS", barrier_seconds_,
                "30s",
                "How long the ranks of a group wait for one that\n"
                "does not come, before all are told to try again");
    AddDuration("--drain-seconds", "BN_DRAIN_SECONDS", drain_seconds_, "5s",
                "After SIGTERM serve this long with NOT_SERVING as\n"
                "health, so that load balancers turn away");
  }

  void AddLog() {
    app_.add_option("--log-format", log_format_,
                    "Lines for people or for machines")
        ->check(CLI::IsMember({"human", "json"}).description(""))
        ->capture_default_str()
        ->envname("BN_LOG_FORMAT")
        ->type_name("human|json")
        ->group("Log, on standard error");
    app_.add_option("--log-level", options_.log_level,
                    "debug has a line for each call")
        ->check(CLI::IsMember({"debug", "info", "warning", "error"})
                    .description(""))
        ->capture_default_str()
        ->envname("BN_LOG_LEVEL")
        ->type_name("debug|info|warning|error")
        ->group("Log, on standard error");
  }

  void AddFile(const std::string& flag, const std::string& variable,
               std::string& path, const std::string& description) {
    app_.add_option(flag, path, description)
        ->envname(variable)
        ->type_name("FILE")
        ->group("Who may call");
  }

  // `choices` is "a|b".
  void AddChoice(const std::string& flag, const std::string& variable,
                 std::string& choice, const std::string& choices,
                 const std::string& description) {
    app_.add_option(flag, choice, description)
        ->check(CLI::IsMember(CLI::detail::split(choices, '|')).description(""))
        ->capture_default_str()
        ->envname(variable)
        ->type_name(choices)
        ->group("Storage");
  }

  template <typename Count>
  CLI::Option* AddCount(const std::string& flag, const std::string& variable,
                        Count& count, const std::string& description) {
    return app_.add_option(flag, count, description)
        ->capture_default_str()
        ->envname(variable)
        ->type_name("N")
        ->group("Limits");
  }

  CLI::Option* AddSize(const std::string& flag, const std::string& variable,
                       std::int64_t& bytes, const std::string& description) {
    return app_.add_option(flag, bytes, description)
        ->transform(CLI::AsSizeValue(true).description(""))
        ->default_str(SizeText(bytes))
        ->envname(variable)
        ->type_name("SIZE")
        ->group("Limits");
  }

  void AddDuration(const std::string& flag, const std::string& variable,
                   double& seconds, const std::string& default_text,
                   const std::string& description) {
    const std::map<std::string, double> units = {
        {"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}};
    app_.add_option(flag, seconds, description)
        ->transform(CLI::AsNumberWithUnit(units).description(""))
        ->check(AtLeast(0))
        ->default_str(default_text)
        ->envname(variable)
        ->type_name("DURATION")
        ->group("Lifetime");
  }

  void AddConfiguration() {
    app_.add_option("--config", config_path_, "Read the rest from this file")
        ->envname("BN_CONFIG")
        ->type_name("FILE")
        ->group(kCommandLineGroup);
    app_.add_flag("--check-config", check_config_,
                  "Only say what is wrong in flags, variables, files")
        ->group(kCommandLineGroup);
    app_.add_flag("--print-config", print_config_,
                  "Only print what is in force, and where from")
        ->group(kCommandLineGroup);
    app_.add_flag("--print-config-table", print_table_,
                  "Only print the flags as a table in Markdown")
        ->group(kCommandLineGroup);
  }

  Options& options_;
  double idle_ttl_seconds_;
  double drain_seconds_;
  double barrier_seconds_;
  std::string store_ = "sqlite";
  std::string durability_ = "full";
  std::string log_format_ = "human";
  std::string config_path_;
  bool check_config_ = false;
  bool print_config_ = false;
  bool print_table_ = false;
  CLI::App app_{kDescription, "batchnormd"};
  Configuration configuration_{app_};
};

}  // namespace

std::optional<int> ParseOptions(int argc, char** argv, Options& options) {
  return Flags(options).Parse(argc, argv);
}

}  // namespace batchnorm
