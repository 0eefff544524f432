// Sessions as people and programs see them. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_SESSION_VIEW_H_
#define BATCHNORMD_CLIENT_CLI_SESSION_VIEW_H_

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "client/cli/output.h"
#include "client/types.h"

namespace batchnorm::cli {

// One session a row.
Table SessionTable(const std::vector<client::SessionInfo>& sessions);

// One session, a property a row. Spark lines need characters that not every
// destination shows.
Table SessionDetails(const client::SessionInfo& session, bool with_spark);

// Everything the service says of it.
nlohmann::ordered_json JsonOf(const client::SessionInfo& session);

// A bar a channel, from the least value to the greatest; where there are more
// channels than `columns`, a bar shows the greatest of its neighbours.
std::string SparkLine(std::span<const double> values, std::size_t columns);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SESSION_VIEW_H_
