#include "tests/fault/plan.h"

#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace batchnorm::fault {
namespace {

[[noreturn]] void RefuseFault(std::string_view fault) {
  std::fprintf(stderr, "BN_FAULT: unknown fault '%s'\n",
               std::string(fault).c_str());
  std::exit(2);
}

int NumberIn(const std::string& text, std::string_view fault) {
  int number = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || number < 1) {
    RefuseFault(fault);
  }
  return number;
}

void Add(std::string_view fault, Plan& plan) {
  const std::map<std::string_view, int Plan::*> numbered = {
      {"kill@before_compute", &Plan::kill_before_compute},
      {"kill@before_commit", &Plan::kill_before_commit},
      {"kill@after_commit", &Plan::kill_after_commit},
      {"fail_commit", &Plan::fail_commit}};
  if (fault == "ack_before_commit") {
    plan.ack_before_commit = true;
    return;
  }
  const std::size_t colon = fault.find(':');
  const auto found = numbered.find(fault.substr(0, colon));
  if (found == numbered.end() || colon == std::string_view::npos) {
    RefuseFault(fault);
  }
  plan.*(found->second) = NumberIn(std::string(fault.substr(colon + 1)), fault);
}

}  // namespace

Plan ParsePlan(std::string_view text) {
  Plan plan;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    Add(text.substr(0, comma), plan);
    text.remove_prefix(comma == std::string_view::npos ? text.size()
                                                       : comma + 1);
  }
  return plan;
}

void Die() {
  kill(getpid(), SIGKILL);
  while (true) pause();
}

}  // namespace batchnorm::fault
