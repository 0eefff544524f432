#include "tests/benchmarks/sync/child.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <stdexcept>

namespace batchnorm::benchmark {

Child::Child(const std::vector<std::string>& words) {
  std::array<int, 2> to_child;
  std::array<int, 2> from_child;
  if (pipe(to_child.data()) != 0 || pipe(from_child.data()) != 0) {
    throw std::runtime_error("no pipe");
  }
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  process_ = fork();
  if (process_ == 0) {
    dup2(to_child[0], STDIN_FILENO);
    dup2(from_child[1], STDOUT_FILENO);
    for (const int end :
         {to_child[0], to_child[1], from_child[0], from_child[1]}) {
      close(end);
    }
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(to_child[0]);
  close(from_child[1]);
  in_ = fdopen(to_child[1], "w");
  out_ = fdopen(from_child[0], "r");
}

Child::~Child() {
  fclose(in_);
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  fclose(out_);
}

std::string Child::ReadLine() {
  std::string line;
  for (int c = fgetc(out_); c != '\n'; c = fgetc(out_)) {
    if (c == EOF) throw std::runtime_error("a child has ended");
    line.push_back(static_cast<char>(c));
  }
  return line;
}

void Child::WriteLine(const std::string& line) {
  fputs((line + "\n").c_str(), in_);
  fflush(in_);
}

}  // namespace batchnorm::benchmark
