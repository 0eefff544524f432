// A program that answers lines with lines.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_CHILD_PROCESS_H_
#define BATCHNORMD_TESTS_BENCHMARKS_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace batchnorm::benchmark {

// Thread-compatible. Its failures are std::runtime_error.
class ChildProcess {
 public:
  // Runs the program argv[0] with this process's standard error and exactly
  // this environment (NAME=VALUE).
  ChildProcess(const std::vector<std::string>& argv,
               const std::vector<std::string>& environment);
  // Closes its standard input and waits for its end.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  std::string ReadLine();
  void WriteLine(const std::string& line);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;

  std::string name_;
  pid_t pid_ = -1;
  File to_;
  File from_;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_CHILD_PROCESS_H_
