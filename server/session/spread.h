// Many short tasks on few threads.
#ifndef BATCHNORMD_SERVER_SESSION_SPREAD_H_
#define BATCHNORMD_SERVER_SESSION_SPREAD_H_

#include <cstddef>
#include <functional>
#include <vector>

namespace batchnorm::session {

using Task = std::function<void()>;

// Runs something soon, on another thread.
using Run = std::function<void(Task)>;

// Half the cores: those who wait for what the tasks do need the others.
std::size_t SpreadingThreads();

// Calls each task, on so many threads: of these this one is the first, and the
// others get theirs by `run`. Few tasks wake no other. Thread-safe.
void Spread(const Run& run, std::vector<Task> tasks,
            std::size_t threads = SpreadingThreads());

// Calls each task by `run` alone, but one or two on this thread.
void SpreadElsewhere(const Run& run, std::vector<Task> tasks,
                     std::size_t threads = SpreadingThreads());

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SPREAD_H_
