// SQLite and nothing else: the peer of what the server makes of it.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_STORE_BARE_SQLITE_H_
#define BATCHNORMD_TESTS_BENCHMARKS_STORE_BARE_SQLITE_H_

#include <chrono>
#include <span>
#include <string>

#include "tests/benchmarks/store/recording_store.h"

namespace batchnorm::benchmark {

// Makes the same rows in the same transactions in a new file, with a
// write-ahead log, synchronous=FULL and SQLite's own checkpoints. Rows that are
// there at the start are `made`, untimed. Returns the seconds for `batches`,
// without the pauses before each: a disk that has rested answers later.
// Throws std::runtime_error with SQLite's words.
double SecondsOfBareSqlite(
    const std::string& path, std::span<const Batch> made,
    std::span<const Batch> batches,
    std::chrono::duration<double> pause = std::chrono::duration<double>(0));

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_STORE_BARE_SQLITE_H_
