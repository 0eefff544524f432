// Round-to-nearest with subnormals, whatever the caller's environment was.
//
// Frameworks run with flush-to-zero, and some numeric code with other rounding
// modes; either would change results. The scope sets the default environment of
// the calling thread and restores the caller's, with its exception flags.
#ifndef BATCHNORMD_SERVER_KERNEL_FLOATING_POINT_SCOPE_H_
#define BATCHNORMD_SERVER_KERNEL_FLOATING_POINT_SCOPE_H_

#include <cfenv>

namespace batchnorm::kernel {

class FloatingPointScope {
 public:
  // Both are out of line: a call that may change any memory keeps the compiler
  // from moving arithmetic on tensors across it.
  FloatingPointScope();
  ~FloatingPointScope();

  FloatingPointScope(const FloatingPointScope&) = delete;
  FloatingPointScope& operator=(const FloatingPointScope&) = delete;

 private:
#if defined(__SSE2_MATH__)
  unsigned saved_;
#else
  std::fenv_t saved_;
#endif
};

}  // namespace batchnorm::kernel

#endif  // BATCHNORMD_SERVER_KERNEL_FLOATING_POINT_SCOPE_H_
