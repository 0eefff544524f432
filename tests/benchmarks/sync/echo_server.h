// The floor: a bare gRPC server that answers a call of method /echo/N at once
// with N bytes. It does nothing else, on as many threads as batchnormd has for
// its completion queue.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SYNC_ECHO_SERVER_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SYNC_ECHO_SERVER_H_

namespace batchnorm::benchmark {

// Prints its address on a line, and serves until standard input ends.
void ServeEchoes();

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SYNC_ECHO_SERVER_H_
