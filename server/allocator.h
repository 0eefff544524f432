// How the process's memory allocator treats tensors.
#ifndef BATCHNORMD_SERVER_ALLOCATOR_H_
#define BATCHNORMD_SERVER_ALLOCATOR_H_

namespace batchnorm {

// Keeps freed tensor memory for the next call. Once, before any thread starts.
//
// A call's tensors arrive in slices of some 64 KiB, are joined, and leave in
// blocks of 1 MiB, all freed when the call ends. glibc would give that memory
// back to the kernel and fault it in again, page by page, for the next call,
// which costs more than copying it. Instead
//
//   M_MMAP_THRESHOLD  32 MiB, the most there is: smaller blocks come from the
//                     heap and stay mapped when freed; larger ones still go
//                     back at once, so that one huge call does not stay;
//   M_TRIM_THRESHOLD  up to 256 MiB at the top of a heap stay;
//   M_TOP_PAD         a heap grows by 16 MiB at least.
//
// Other C libraries keep their own ways.
void ConfigureAllocator();

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_ALLOCATOR_H_
