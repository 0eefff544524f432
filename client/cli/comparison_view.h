// Comparisons as people and programs see them. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_COMPARISON_VIEW_H_
#define BATCHNORMD_CLIENT_CLI_COMPARISON_VIEW_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "client/cli/comparison.h"
#include "client/cli/output.h"
#include "client/cli/tensor_role.h"

namespace batchnorm::cli {

struct NamedComparison {
  Role role;
  Dtype dtype;  // of their tensor
  Comparison comparison;
};

bool AllPass(const std::vector<NamedComparison>& comparisons);

Table ComparisonTable(const std::vector<NamedComparison>& comparisons);

// What a table cannot hold: shapes that differ, and the verdict.
std::string VerdictText(const std::vector<NamedComparison>& comparisons);

nlohmann::ordered_json JsonOf(const std::vector<NamedComparison>& comparisons,
                              const Tolerance& tolerance);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_COMPARISON_VIEW_H_
