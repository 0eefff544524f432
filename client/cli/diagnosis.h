// What went wrong, in the three lines that `bn` prints:
//
//   error: acts.npy: type 'V2' is unnamed 2-byte data
//   why:   NumPy drops the name of ml_dtypes.bfloat16
//   hint:  add --dtype bf16, or save as .safetensors
//
// A diagnosis that bn makes by itself travels inside an absl::Status, so that
// functions return StatusOr like any other. Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_DIAGNOSIS_H_
#define BATCHNORMD_CLIENT_CLI_DIAGNOSIS_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace batchnorm::cli {

struct Diagnosis {
  std::string error;  // what happened: never empty
  std::string why;    // what caused it, or what was expected; may be empty
  std::string hint;   // what to do next; may be empty
};

// A failure that is the caller's to mend: a file, a flag.
absl::Status ToStatus(const Diagnosis& diagnosis);

// The diagnosis of a status made by ToStatus; empty for one that came from
// elsewhere, such as the server.
std::optional<Diagnosis> DiagnosisOf(const absl::Status& status);

// The same status, said of `subject`: "SUBJECT: error".
absl::Status Of(std::string_view subject, const absl::Status& status);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DIAGNOSIS_H_
