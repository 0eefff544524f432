#include "client/cli/name_option.h"

#include <algorithm>
#include <string>

namespace batchnorm::cli {
namespace {

bool IsPrintableAscii(char c) { return c >= ' ' && c <= '~'; }

// What CLI11 wants of a validator: "" or what is wrong.
std::string FaultOf(const std::string& text) {
  const bool ok = std::all_of(text.begin(), text.end(), IsPrintableAscii);
  return ok ? "" : "a name has letters, digits and _ - . / only";
}

}  // namespace

CLI::Validator PrintableAscii() { return CLI::Validator(FaultOf, ""); }

}  // namespace batchnorm::cli
