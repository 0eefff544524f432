// "Did you mean": the known word nearest to one that is unknown.
#ifndef BATCHNORMD_CLIENT_CLI_SUGGESTION_H_
#define BATCHNORMD_CLIENT_CLI_SUGGESTION_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace batchnorm::cli {

// Insertions, deletions, replacements and swaps of neighbours that make `a`
// into `b`.
std::size_t EditDistance(std::string_view a, std::string_view b);

// The nearest of `known`; empty if none is near: more than a third of its
// letters would change. Pure and thread-safe.
std::optional<std::string> Suggest(std::string_view word,
                                   std::span<const std::string> known);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_SUGGESTION_H_
