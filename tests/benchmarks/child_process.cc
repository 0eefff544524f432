#include "tests/benchmarks/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace batchnorm::benchmark {
namespace {

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    read = ends[0];
    write = ends[1];
  }
  int read;
  int write;
};

// What exec wants. The strings outlive the pointers.
std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) {
    pointers.push_back(const_cast<char*>(text.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& argv,
                           const std::vector<std::string>& environment)
    : name_(argv.front()) {
  std::signal(SIGPIPE, SIG_IGN);  // a child that ended is an error of ours
  const Pipe input;
  const Pipe output;
  to_.reset(fdopen(input.write, "w"));
  from_.reset(fdopen(output.read, "r"));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write, STDOUT_FILENO);
  const int error =
      posix_spawn(&pid_, name_.c_str(), &actions, nullptr,
                  Pointers(argv).data(), Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  close(input.read);
  close(output.write);
  if (error != 0) {
    throw std::runtime_error(
        fmt::format("{} cannot be run: {}", name_, std::strerror(error)));
  }
}

ChildProcess::~ChildProcess() {
  to_.reset();
  waitpid(pid_, nullptr, 0);
}

std::string ChildProcess::ReadLine() {
  std::string line;
  for (int c = std::fgetc(from_.get()); c != '\n';
       c = std::fgetc(from_.get())) {
    if (c == EOF) throw std::runtime_error(name_ + " has ended");
    line += static_cast<char>(c);
  }
  return line;
}

void ChildProcess::WriteLine(const std::string& line) {
  if (std::fprintf(to_.get(), "%s\n", line.c_str()) < 0 ||
      std::fflush(to_.get()) != 0) {
    throw std::runtime_error(name_ + " has ended");
  }
}

}  // namespace batchnorm::benchmark
