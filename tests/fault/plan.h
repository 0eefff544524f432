// What is to go wrong in a batchnormd_faulty, from the variable BN_FAULT:
// faults joined by commas.
//
//   kill@before_compute:N   SIGKILL when the N-th tensor call's turn has come
//   kill@before_commit:N    ... when the N-th transaction is about to begin:
//                           its steps are applied in memory
//   kill@after_commit:N     ... when it is durable and nobody has been told
//   fail_commit:N           the N-th transaction writes nothing and fails
//   ack_before_commit       transactions are acknowledged at once and made
//                           50 ms later: the protection switched off
#ifndef BATCHNORMD_TESTS_FAULT_PLAN_H_
#define BATCHNORMD_TESTS_FAULT_PLAN_H_

#include <string_view>

namespace batchnorm::fault {

// Numbers count from 1; 0 is never.
struct Plan {
  int kill_before_compute = 0;
  int kill_before_commit = 0;
  int kill_after_commit = 0;
  int fail_commit = 0;
  bool ack_before_commit = false;
};

// Ends the program with 2 and a message if a fault is unknown: a plan that is
// misspelt must not look like a server that survives.
Plan ParsePlan(std::string_view text);

// As a crash would: no destructor, no flush, no goodbye.
[[noreturn]] void Die();

}  // namespace batchnorm::fault

#endif  // BATCHNORMD_TESTS_FAULT_PLAN_H_
