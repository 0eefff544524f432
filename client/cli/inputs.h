// The tensors that go into a call, named by flags or held by one archive.
#ifndef BATCHNORMD_CLIENT_CLI_INPUTS_H_
#define BATCHNORMD_CLIENT_CLI_INPUTS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/named_tensor.h"
#include "client/cli/tensor_file.h"
#include "client/cli/tensor_role.h"
#include "client/types.h"

namespace batchnorm::cli {

using TensorsByRole = std::map<Role, Tensor>;

struct InputOptions {
  std::map<Role, std::string> files;  // --x FILE and so on; "" if not given
  std::string archive;                // --inputs FILE: any of them by name
  std::string dtype;                  // of what files cannot name
  std::string input_format = "npy";   // of standard input
};

// Adds --inputs and one flag a role.
void AddInputOptions(CLI::App& command, std::span<const Role> roles,
                     InputOptions& options);

ReadOptions ReadOptionsOf(const InputOptions& options);

// Reads them all. A role's own flag goes before the archive; members of the
// archive that are no role of `roles` are left alone.
absl::StatusOr<TensorsByRole> ReadInputs(const InputOptions& options,
                                         std::span<const Role> roles,
                                         TensorReader& reader);

// The members of an archive by role. `where` names it in errors: a role that
// two members claim is one.
absl::StatusOr<TensorsByRole> ByRole(Archive archive, const std::string& where);

// Moves a tensor out, if it is there.
std::optional<Tensor> Take(TensorsByRole& tensors, Role role);

// Moves x out; a diagnosis if there is none.
absl::StatusOr<Tensor> TakeX(TensorsByRole& tensors);

// Both running statistics or none; a diagnosis if there is only one.
absl::StatusOr<std::optional<client::RunningStatistics>> TakeRunningStatistics(
    TensorsByRole& tensors, std::int64_t batch_count);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_INPUTS_H_
