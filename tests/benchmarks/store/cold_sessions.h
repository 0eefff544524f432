// What many sessions that nobody uses cost a server: memory, and time until it
// is ready.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_STORE_COLD_SESSIONS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_STORE_COLD_SESSIONS_H_

#include <cstdint>
#include <string>

namespace batchnorm::benchmark {

struct ColdSessions {
  std::int64_t sessions = 0;
  std::int64_t file_bytes = 0;
  double ready_seconds = 0;    // store and registry opened
  double bytes_a_session = 0;  // of resident memory, once all were listed
  double bytes_loaded = 0;     // ... of one that is in use, besides
  double list_seconds = 0;     // all pages of 1,000
  // The second half of the pages over the first: a steady rate is 1.
  double list_slowdown = 0;
  double load_seconds = 0;  // of one that is not in memory
};

// Stores sessions of 64 channels in a new file.
void MakeSessions(std::int64_t sessions, const std::string& path);

// Opens that file as a server does. In a process of its own: memory is that of
// the process.
ColdSessions MeasureColdSessions(const std::string& path);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_STORE_COLD_SESSIONS_H_
