#include "server/nearest_name.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace batchnorm {
namespace {

std::size_t Distance(std::string_view a, std::string_view b) {
  // distances[j]: from the letters of `a` so far to the first j of `b`.
  std::vector<std::size_t> distances(b.size() + 1);
  std::iota(distances.begin(), distances.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = distances[0];
    distances[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = distances[j + 1];
      distances[j + 1] =
          std::min({substituted, diagonal + 1, distances[j] + 1});
    }
  }
  return distances.back();
}

}  // namespace

std::string NearestName(std::string_view word,
                        const std::vector<std::string>& names) {
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  std::string nearest;
  for (const std::string& name : names) {
    const std::size_t distance = Distance(word, name);
    if (distance >= least) continue;
    least = distance;
    nearest = name;
  }
  return nearest;
}

}  // namespace batchnorm
