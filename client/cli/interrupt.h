// Ctrl-C: bn leaves nothing unfinished behind and exits with 130.
#ifndef BATCHNORMD_CLIENT_CLI_INTERRUPT_H_
#define BATCHNORMD_CLIENT_CLI_INTERRUPT_H_

#include <string>

namespace batchnorm::cli {

inline constexpr int kInterruptedExitCode = 130;

// Call once, before other threads exist.
void ExitOnInterrupt();

// Names the one file to remove on an interrupt; "" for none. Call from one
// thread only. Paths that are too long for the system are ignored.
void RemoveOnInterrupt(const std::string& path);

// While it lives, the first interrupt is only noted, for a command that has to
// tidy up on the server; a second one ends the program at once. At most one at
// a time.
class DeferredInterrupt {
 public:
  DeferredInterrupt();
  ~DeferredInterrupt();
  DeferredInterrupt(const DeferredInterrupt&) = delete;
  DeferredInterrupt& operator=(const DeferredInterrupt&) = delete;

  bool came() const;
};

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_INTERRUPT_H_
