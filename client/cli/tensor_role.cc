#include "client/cli/tensor_role.h"

#include <algorithm>

namespace batchnorm::cli {
namespace {

struct RoleName {
  std::string_view name;
  Role role;
};

// The first name of a role is its own.
constexpr RoleName kNames[] = {
    {"x", Role::kX},
    {"input", Role::kX},
    {"gamma", Role::kGamma},
    {"weight", Role::kGamma},
    {"scale", Role::kGamma},
    {"beta", Role::kBeta},
    {"bias", Role::kBeta},
    {"offset", Role::kBeta},
    {"dy", Role::kDy},
    {"grad_output", Role::kDy},
    {"dout", Role::kDy},
    {"y", Role::kY},
    {"output", Role::kY},
    {"out", Role::kY},
    {"mean", Role::kMean},
    {"save_mean", Role::kMean},
    {"saved_mean", Role::kMean},
    {"batch_mean", Role::kMean},
    {"var", Role::kVar},
    {"save_var", Role::kVar},
    {"saved_var", Role::kVar},
    {"batch_var", Role::kVar},
    {"inv_std", Role::kInvStd},
    {"save_invstd", Role::kInvStd},
    {"save_inv_std", Role::kInvStd},
    {"invstd", Role::kInvStd},
    {"rstd", Role::kInvStd},
    {"running_mean", Role::kRunningMean},
    {"moving_mean", Role::kRunningMean},
    {"running_var", Role::kRunningVar},
    {"moving_var", Role::kRunningVar},
    {"moving_variance", Role::kRunningVar},
    {"dx", Role::kDx},
    {"grad_input", Role::kDx},
    {"dgamma", Role::kDgamma},
    {"dweight", Role::kDgamma},
    {"dscale", Role::kDgamma},
    {"grad_weight", Role::kDgamma},
    {"dbeta", Role::kDbeta},
    {"dbias", Role::kDbeta},
    {"doffset", Role::kDbeta},
    {"grad_bias", Role::kDbeta},
};

constexpr Role kInputs[] = {Role::kX,  Role::kGamma,       Role::kBeta,
                            Role::kDy, Role::kRunningMean, Role::kRunningVar};
constexpr Role kResults[] = {
    Role::kY,      Role::kMean,        Role::kVar,
    Role::kInvStd, Role::kRunningMean, Role::kRunningVar,
    Role::kDx,     Role::kDgamma,      Role::kDbeta};

}  // namespace

std::string_view NameOf(Role role) {
  return std::ranges::find(kNames, role, &RoleName::role)->name;
}

std::optional<Role> RoleOf(std::string_view name) {
  const auto* const found = std::ranges::find(kNames, name, &RoleName::name);
  if (found == std::end(kNames)) return std::nullopt;
  return found->role;
}

std::span<const Role> InputRoles() { return kInputs; }
std::span<const Role> ResultRoles() { return kResults; }

bool IsInput(Role role) {
  return std::ranges::find(kInputs, role) != std::end(kInputs);
}
bool IsResult(Role role) {
  return std::ranges::find(kResults, role) != std::end(kResults);
}

}  // namespace batchnorm::cli
