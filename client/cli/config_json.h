// A session's configuration as JSON, and back: what `bn session show` prints
// and what a snapshot's file holds. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_CONFIG_JSON_H_
#define BATCHNORMD_CLIENT_CLI_CONFIG_JSON_H_

#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/types.h"

namespace batchnorm::cli {

std::string_view NameOf(client::DegeneratePolicy policy);
std::string_view NameOf(client::NonFinitePolicy policy);

nlohmann::ordered_json JsonOf(const client::SessionConfig& config);

// A diagnosis if a member is missing, unknown or of another type. Doubles come
// back as they were.
absl::StatusOr<client::SessionConfig> ParseConfig(std::string_view json);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_CONFIG_JSON_H_
