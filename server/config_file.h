// A configuration file: TOML, one key a flag. Which keys there are, and what
// they take, is not known here.
#ifndef BATCHNORMD_SERVER_CONFIG_FILE_H_
#define BATCHNORMD_SERVER_CONFIG_FILE_H_

#include <string>
#include <vector>

namespace batchnorm {

// `key = value`. Values are as on a command line: TOML's 64 and "64" are the
// same; a list has several.
struct ConfigEntry {
  std::string key;
  std::vector<std::string> values;
  std::string place;  // FILE:LINE:COLUMN of the key
};

// Entries in the order of the file, and the mistakes that a person has to mend,
// each with its FILE:LINE:COLUMN.
struct ConfigFile {
  std::vector<ConfigEntry> entries;
  std::vector<std::string> mistakes;
};

// A file that cannot be read is one mistake.
ConfigFile ReadConfigFile(const std::string& path);

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_CONFIG_FILE_H_
