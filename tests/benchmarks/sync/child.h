// A program that runs beside this one until the object is gone.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SYNC_CHILD_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SYNC_CHILD_H_

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace batchnorm::benchmark {

class Child {
 public:
  // `words` are the command. Throws std::runtime_error.
  explicit Child(const std::vector<std::string>& words);
  ~Child();

  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // A line of its standard output; throws when there is none.
  std::string ReadLine();
  void WriteLine(const std::string& line);

 private:
  pid_t process_;
  FILE* in_;   // its standard input
  FILE* out_;  // its standard output
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SYNC_CHILD_H_
