#include "server/kernel/floating_point_scope.h"

namespace batchnorm::kernel {

// The default environment rounds to nearest and keeps subnormals, both as
// operands and as results: MXCSR 0x1f80 on x86, FPCR 0 on ARM.
FloatingPointScope::FloatingPointScope() {
  std::fegetenv(&saved_);
  std::fesetenv(FE_DFL_ENV);
}

FloatingPointScope::~FloatingPointScope() { std::fesetenv(&saved_); }

}  // namespace batchnorm::kernel
