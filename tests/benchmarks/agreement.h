// That peers compute the same thing: a fast wrong answer is no comparison.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_AGREEMENT_H_
#define BATCHNORMD_TESTS_BENCHMARKS_AGREEMENT_H_

#include "tests/benchmarks/contest.h"
#include "tests/benchmarks/pairing.h"

namespace batchnorm::benchmark {

// Runs both and compares some thousand values that they leave in
// contest.buffers.out. Throws std::runtime_error if they are not the same up to
// the errors of single precision.
void RequireAgreement(const Contest& contest, const Peer& peer,
                      const Peer& reference);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_AGREEMENT_H_
