#include "server/kernel/floating_point_scope.h"

#if defined(__SSE2_MATH__)
#include <xmmintrin.h>
#endif

namespace batchnorm::kernel {

// The default environment rounds to nearest and keeps subnormals, both as
// operands and as results: MXCSR 0x1f80 on x86, FPCR 0 on ARM.
#if defined(__SSE2_MATH__)

// No arithmetic is done by the other unit, whose state takes ten times as long.
FloatingPointScope::FloatingPointScope() : saved_(_mm_getcsr()) {
  constexpr unsigned kDefault = 0x1f80;
  _mm_setcsr(kDefault);
}

FloatingPointScope::~FloatingPointScope() { _mm_setcsr(saved_); }

#else

FloatingPointScope::FloatingPointScope() {
  std::fegetenv(&saved_);
  std::fesetenv(FE_DFL_ENV);
}

FloatingPointScope::~FloatingPointScope() { std::fesetenv(&saved_); }

#endif

}  // namespace batchnorm::kernel
