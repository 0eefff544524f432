#include "client/cli/suggestion.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace batchnorm::cli {

// Damerau's and Levenshtein's table, three rows of it: before_last and last are
// those of i - 2 and i - 1 letters of a; row[j] is the distance to j of b.
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(before_last, last);
    std::swap(last, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + change});
      const bool swapped =
          i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::optional<std::string> Suggest(std::string_view word,
                                   std::span<const std::string> known) {
  const auto nearest = std::min_element(
      known.begin(), known.end(), [&](const auto& a, const auto& b) {
        return EditDistance(word, a) < EditDistance(word, b);
      });
  if (nearest == known.end()) return std::nullopt;
  const std::size_t most = std::max<std::size_t>(1, nearest->size() / 3);
  if (EditDistance(word, *nearest) > most) return std::nullopt;
  return *nearest;
}

}  // namespace batchnorm::cli
