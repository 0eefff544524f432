#include "server/logging.h"

#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace batchnorm {
namespace {

std::string Text(spdlog::string_view_t view) {
  return std::string(view.data(), view.size());
}

std::string Timestamp(const spdlog::details::log_msg& message) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ",
                          absl::FromChrono(message.time), absl::UTCTimeZone());
}

// "\x0a" for a newline, and so on.
std::string EscapeControls(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      escaped += c;
    } else {
      fmt::format_to(std::back_inserter(escaped), "\\x{:02x}", byte);
    }
  }
  return escaped;
}

// 2026-01-31T12:00:00.000Z info serving on localhost:50051
std::string HumanLine(const spdlog::details::log_msg& message) {
  return fmt::format("{} {} {}\n", Timestamp(message),
                     Text(spdlog::level::to_string_view(message.level)),
                     EscapeControls(Text(message.payload)));
}

// Bytes that are not UTF-8 become U+FFFD.
std::string Dump(const nlohmann::json& object) {
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// {"level":"info","message":"serving on ...","time":"2026-01-31T12:00:00.000Z"}
std::string JsonLine(const spdlog::details::log_msg& message) {
  const nlohmann::json line = {
      {"time", Timestamp(message)},
      {"level", Text(spdlog::level::to_string_view(message.level))},
      {"message", Text(message.payload)}};
  return Dump(line) + "\n";
}

// Of LogCall: the payload is an object.
std::string HumanCallLine(const spdlog::details::log_msg& message) {
  const nlohmann::json call = nlohmann::json::parse(Text(message.payload));
  return fmt::format("{} {} {}\n", Timestamp(message),
                     Text(spdlog::level::to_string_view(message.level)),
                     EscapeControls(call["message"].get<std::string>()));
}

std::string JsonCallLine(const spdlog::details::log_msg& message) {
  nlohmann::json call = nlohmann::json::parse(Text(message.payload));
  call["time"] = Timestamp(message);
  call["level"] = Text(spdlog::level::to_string_view(message.level));
  return call.dump() + "\n";
}

using LineFormat = std::string (*)(const spdlog::details::log_msg&);

class LineFormatter : public spdlog::formatter {
 public:
  explicit LineFormatter(LineFormat write_line) : write_line_(write_line) {}

  void format(const spdlog::details::log_msg& message,
              spdlog::memory_buf_t& line) override {
    const std::string text = write_line_(message);
    line.append(text.data(), text.data() + text.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(write_line_);
  }

 private:
  LineFormat write_line_;
};

std::shared_ptr<spdlog::logger> MakeLogger(const std::string& name,
                                           LineFormat write_line,
                                           const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>(
      name, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::make_unique<LineFormatter>(write_line));
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::trace);
  return logger;
}

// Null until the log is configured.
std::shared_ptr<spdlog::logger> call_logger;

}  // namespace

void ConfigureLog(LogFormat format, const std::string& level) {
  const bool json = format == LogFormat::kJson;
  spdlog::set_default_logger(
      MakeLogger("batchnormd", json ? &JsonLine : &HumanLine, level));
  call_logger =
      MakeLogger("calls", json ? &JsonCallLine : &HumanCallLine, level);
}

void LogCall(const std::string& message, const nlohmann::json& fields) {
  if (call_logger == nullptr) return;
  nlohmann::json call = fields;
  call["message"] = message;
  call_logger->debug("{}", Dump(call));
}

}  // namespace batchnorm
