// Where two configurations differ, for the error that says so. Pure, safe from
// any thread.
#ifndef BATCHNORMD_SERVER_SESSION_CONFIG_DIFFERENCE_H_
#define BATCHNORMD_SERVER_SESSION_CONFIG_DIFFERENCE_H_

#include <optional>
#include <string>

#include "server/session/config.h"

namespace batchnorm::session {

struct ConfigDifference {
  std::string field;  // in proto notation: "config.normalization.eps"
  std::string first;  // its values, as text
  std::string second;
};

// The first field, in the order of the contract, in which they differ; empty
// if they are equal.
std::optional<ConfigDifference> FindDifference(const SessionConfig& first,
                                               const SessionConfig& second);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_CONFIG_DIFFERENCE_H_
