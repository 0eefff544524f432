#include "client/cli/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <climits>
#include <csignal>
#include <cstring>

namespace batchnorm::cli {
namespace {

// Read by a signal handler: a plain array, valid while the flag is set.
char unfinished_path[PATH_MAX];
std::atomic<bool> has_unfinished_path = false;
static_assert(std::atomic<bool>::is_always_lock_free);

std::atomic<bool> interrupt_came = false;

extern "C" void OnInterrupt(int) {
  if (has_unfinished_path) unlink(unfinished_path);
  _exit(kInterruptedExitCode);
}

extern "C" void OnDeferredInterrupt(int) {
  if (interrupt_came) _exit(kInterruptedExitCode);
  interrupt_came = true;
}

void HandleInterruptBy(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

void ExitOnInterrupt() { HandleInterruptBy(OnInterrupt); }

void RemoveOnInterrupt(const std::string& path) {
  has_unfinished_path = false;
  if (path.empty() || path.size() >= sizeof(unfinished_path)) return;
  std::memcpy(unfinished_path, path.c_str(), path.size() + 1);
  has_unfinished_path = true;
}

DeferredInterrupt::DeferredInterrupt() {
  interrupt_came = false;
  HandleInterruptBy(OnDeferredInterrupt);
}

DeferredInterrupt::~DeferredInterrupt() { HandleInterruptBy(OnInterrupt); }

bool DeferredInterrupt::came() const { return interrupt_came; }

}  // namespace batchnorm::cli
