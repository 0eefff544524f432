// A line on standard error while a call lasts, if standard error is a terminal.
//
//   evaluating x[32,256,56,56] f32, 103 MB: 3 s
#ifndef BATCHNORMD_CLIENT_CLI_PROGRESS_H_
#define BATCHNORMD_CLIENT_CLI_PROGRESS_H_

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace batchnorm::cli {

// Shows `what` and the seconds since its construction, from half a second on,
// and wipes the line when destroyed. Construct and destroy on one thread.
class Progress {
 public:
  explicit Progress(std::string what);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

 private:
  void Show();

  const std::string what_;
  std::mutex mutex_;
  std::condition_variable ended_changed_;
  bool ended_ = false;  // guarded by mutex_
  std::thread thread_;  // not started where there is no terminal
};

// Makes a call under its progress line.
template <typename Call>
auto WithProgress(std::string what, Call call) {
  const Progress progress(std::move(what));
  return call();
}

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_PROGRESS_H_
