// What somebody who misspelled a name most likely meant.
#ifndef BATCHNORMD_SERVER_NEAREST_NAME_H_
#define BATCHNORMD_SERVER_NEAREST_NAME_H_

#include <string>
#include <string_view>
#include <vector>

namespace batchnorm {

// The name that the fewest insertions, deletions and substitutions of letters
// make of `word` (Levenshtein's distance), or empty if none is near: a third
// of the word's letters may differ, and always two.
std::string NearestName(std::string_view word,
                        const std::vector<std::string>& names);

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_NEAREST_NAME_H_
