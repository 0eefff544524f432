// Many short tasks on few threads.
#ifndef BATCHNORMD_SERVER_SESSION_SPREAD_H_
#define BATCHNORMD_SERVER_SESSION_SPREAD_H_

#include <functional>
#include <vector>

namespace batchnorm::session {

using Task = std::function<void()>;

// Runs something soon, on a thread that may compute.
using Run = std::function<void(Task)>;

// Calls each task: the first few on this thread, as waking another one takes as
// long as they do, and of many more some at a time by `run`. Thread-safe.
void Spread(const Run& run, std::vector<Task> tasks);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_SPREAD_H_
