// What a tensor is to batch normalization, and the names it goes by.
//
// Every name that bn takes (flags, members of archives, outputs) is the role's
// own or one of the frameworks' names for it:
//
//   x             input
//   gamma         weight, scale
//   beta          bias, offset
//   dy            grad_output, dout
//   y             output, out
//   mean          save_mean, saved_mean, batch_mean
//   var           save_var, saved_var, batch_var
//   inv_std       save_invstd, save_inv_std, invstd, rstd
//   running_mean  moving_mean
//   running_var   moving_var, moving_variance
//   dx            grad_input
//   dgamma        dweight, dscale, grad_weight
//   dbeta         dbias, doffset, grad_bias
//
// Pure and thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_TENSOR_ROLE_H_
#define BATCHNORMD_CLIENT_CLI_TENSOR_ROLE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace batchnorm::cli {

enum class Role : std::uint8_t {
  kX,
  kGamma,
  kBeta,
  kDy,
  kY,
  kMean,
  kVar,
  kInvStd,
  kRunningMean,
  kRunningVar,
  kDx,
  kDgamma,
  kDbeta,
};

// The role's own name.
std::string_view NameOf(Role role);

std::optional<Role> RoleOf(std::string_view name);

// What a call takes; what it returns. Running statistics are in both.
std::span<const Role> InputRoles();
std::span<const Role> ResultRoles();

bool IsInput(Role role);
bool IsResult(Role role);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_TENSOR_ROLE_H_
