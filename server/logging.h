// Log lines on standard error, one an event, for people or for machines.
// Values that came from outside cannot break a line: control characters are
// escaped in both formats.
#ifndef BATCHNORMD_SERVER_LOGGING_H_
#define BATCHNORMD_SERVER_LOGGING_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace batchnorm {

enum class LogFormat : std::uint8_t { kHuman, kJson };

// Sets up spdlog's default logger, before any thread starts. The level is one
// of debug, info, warning, error.
void ConfigureLog(LogFormat format, const std::string& level);

// A line about a call, at debug: the fields on their own in JSON, the message
// alone for people.
void LogCall(const std::string& message, const nlohmann::json& fields);

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_LOGGING_H_
