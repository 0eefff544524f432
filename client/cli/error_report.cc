#include "client/cli/error_report.h"

#include <fmt/format.h>

#include <string_view>

#include "absl/strings/match.h"
#include "client/error.h"
#include "proto/wire/code_name.h"

namespace batchnorm::cli {
namespace {

struct Advice {
  std::string_view reason;
  std::string_view hint;
};

// For the reasons of proto/README.md where a command can do something.
constexpr Advice kAdvice[] = {
    {"BAD_TENSOR",
     "the shape and the bytes must fit; `bn eval --help` shows the inputs"},
    {"BAD_CONFIG", "the command's --help shows what each flag takes"},
    {"BAD_NAME",
     "1 to 128 letters, digits, `.`, `_` and `-`, in parts joined by `/`"},
    {"BAD_STEP", "`bn session show NAME` shows the last step"},
    {"STEPS_LOST",
     "the session was rolled back: train again from a checkpoint"},
    {"TENSOR_TOO_LARGE",
     "send a smaller tensor, or raise the server's --max-tensor-bytes"},
    {"TOO_LARGE_FOR_UNARY",
     "ask for fewer results, or raise the server's --max-message-bytes"},
    {"TOO_MANY_BYTES_IN_FLIGHT",
     "try again, or raise the server's --max-bytes-in-flight"},
    {"SERVER_DRAINING",
     "try again when it is back, or name another with --server"},
    {"SESSION_NOT_FOUND",
     "`bn session list` shows those there are, `bn session create` makes one"},
    {"FENCED",
     "another run has acquired the session: stop this one, or acquire it again "
     "if the other is the one that should stop"},
    {"SESSION_EXISTS",
     "choose another name, or set the existing one with --replace"},
    {"BAD_SNAPSHOT", "the file was changed or damaged: export it again"},
    {"NEWER_FORMAT", "a newer version wrote it: use that one"},
    {"SESSION_DAMAGED",
     "delete it, or set it from a checkpoint: `bn session import --replace`"},
    {"STORE_FAILED", "try again; the server's log says what its disk does"},
    {"CONFIG_DIFFERS",
     "`bn session show NAME` shows its configuration; delete it, or choose "
     "another name"},
    {"TOO_MANY_SESSIONS", "delete sessions that are done: `bn session delete`"},
    {"STEP_REUSED", "leave --step out to take the next step"},
    {"STEP_GAP", "`bn session show NAME` shows the last step"},
    {"STEP_TOO_OLD", "`bn session show NAME` shows the last step"},
    {"INPUT_EVICTED", "add the step's own --x and --gamma"},
    {"NON_FINITE_INPUT",
     "mend the input, or create the session with --non-finite propagate"},
    {"TOO_FEW_VALUES",
     "send more values a channel, or choose --degenerate or a --preset (for a "
     "session: when it is created)"},
    {"ZERO_VARIANCE",
     "raise --eps, or choose --degenerate or a --preset (for a session: when "
     "it "
     "is created)"},
    {"WRONG_CHANNELS", "--axis says where the channels are"},
    {"BAD_CHANNEL_AXES", "--axis says where the channels are"},
    {"RANK_MISSING",
     "`bn session show NAME` shows who is there; the server's "
     "--barrier-seconds is how long they wait"},
    {"RANK_LEFT", "start the rank again, and send the same call again"},
    {"RANK_REFUSED", "mend that rank's call; then all send theirs again"},
    {"CALL_REPLACED",
     "another process has called as this rank: each rank needs a --rank of its "
     "own"},
    {"NEW_WEIGHT_DIFFERS", "give all ranks of a step the same --new-weight"},
    {"BAD_PASS", "--pass counts the backwards of a step: 0 to 15"},
    {"BAD_SUMS",
     "the named sums must be one f64 a channel and limb, of finite numbers "
     "that some batch can have"},
    {"BAD_JOB", "name the run in 1 to 128 bytes, alike on all its ranks"},
    {"OTHER_JOB",
     "another run uses this session: `bn session show NAME` shows its ranks; "
     "end it, or choose another name"},
    {"STEP_MOVED", "`bn session show NAME` shows the last step"},
    {"GROUP_CHANGED", "`bn session show NAME` shows its world size"},
    {"BAD_RANK", "`bn session show NAME` shows its world size"},
    {"TOKEN_MISSING",
     "name a file with your token: --token-file or "
     "BN_TOKEN_FILE"},
    {"TOKEN_WRONG", "ask the server's operator for a token"},
    {"TOKEN_EXPIRED", "ask the server's operator for a new token"},
    {"TOKEN_IN_PLAINTEXT",
     "encrypt: --tls-ca names the certificates that vouch for the server"},
    {"CERTIFICATE_NAMES_NO_TENANT",
     "ask the server's operator for a certificate with a tenant's name"},
    {"MISSING_INPUT", "`bn eval --help` shows which results need which inputs"},
};

std::string HintFor(absl::StatusCode code, std::string_view reason) {
  for (const Advice& advice : kAdvice) {
    if (advice.reason == reason) return std::string(advice.hint);
  }
  if (code == absl::StatusCode::kDeadlineExceeded) {
    return "allow more time: --timeout 5m";
  }
  return "";
}

// Somebody is there, but one of the two does not trust the other, or does not
// encrypt.
Diagnosis NotTrusted(const absl::Status& status, const std::string& server) {
  return {fmt::format("no encrypted connection to {} (UNAVAILABLE)", server),
          std::string(status.message()),
          "--tls-ca names certificates that vouch for the server, --tls-cert "
          "and --tls-key yours; leave them out if it does not encrypt"};
}

// The transport's own failure: nobody answered.
Diagnosis Unreachable(const absl::Status& status, const std::string& server) {
  if (absl::StrContains(status.message(), "handshake failed")) {
    return NotTrusted(status, server);
  }
  if (absl::StrContains(status.message(), "Socket closed")) {
    return {fmt::format("no answer from {} (UNAVAILABLE)", server),
            std::string(status.message()),
            "if the server encrypts, name certificates that vouch for it: "
            "--tls-ca; else see whether it still runs: `bn health`"};
  }
  return {fmt::format("no server at {} (UNAVAILABLE)", server),
          std::string(status.message()),
          "start one with `batchnormd`, or name it with --server or BN_SERVER"};
}

std::string WhyOf(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kNotFound) return "";
  const std::string field = client::Field(status);
  if (!field.empty()) return fmt::format("the request's {} was refused", field);
  return "";
}

}  // namespace

int ExitCodeOf(const absl::Status& status) {
  if (DiagnosisOf(status)) return kUsage;
  return 64 + static_cast<int>(status.code());
}

Diagnosis Explain(const absl::Status& status, const std::string& server) {
  if (const auto diagnosis = DiagnosisOf(status)) return *diagnosis;
  const std::string reason = client::Reason(status);
  if (status.code() == absl::StatusCode::kUnavailable && reason.empty()) {
    return Unreachable(status, server);
  }
  const std::string name =
      fmt::format("{}{}{}", wire::CodeName(static_cast<int>(status.code())),
                  reason.empty() ? "" : " ", reason);
  return {fmt::format("{} ({})", std::string(status.message()), name),
          WhyOf(status), HintFor(status.code(), reason)};
}

std::string Render(const Diagnosis& diagnosis) {
  std::string text = fmt::format("error: {}\n", diagnosis.error);
  if (!diagnosis.why.empty()) text += fmt::format("why:   {}\n", diagnosis.why);
  if (!diagnosis.hint.empty()) {
    text += fmt::format("hint:  {}\n", diagnosis.hint);
  }
  return text;
}

}  // namespace batchnorm::cli
