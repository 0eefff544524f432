// gRPC's locks, which absl's checks otherwise.
#ifndef BATCHNORMD_SERVER_LOCK_CHECKS_H_
#define BATCHNORMD_SERVER_LOCK_CHECKS_H_

namespace batchnorm {

// Leaves the order in which gRPC takes its locks unchecked. Once, before any
// thread starts.
//
// absl looks for deadlocks at every lock of a build without NDEBUG, which
// Debian's is: a graph of all locks, under a lock of its own, for a tenth of
// the server's time when calls are small. It is gRPC's order that is looked at;
// the server's own locks are the standard library's, and ThreadSanitizer's
// business.
void SkipLockChecks();

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_LOCK_CHECKS_H_
