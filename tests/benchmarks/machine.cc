#include "tests/benchmarks/machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <thread>

namespace batchnorm::benchmark {
namespace {

std::string FirstLine(const std::string& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

std::string Trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// The lines `name : value` of the first processor.
std::map<std::string, std::string> ProcessorInfo() {
  std::ifstream stream("/proc/cpuinfo");
  std::map<std::string, std::string> info;
  for (std::string line; std::getline(stream, line) && !line.empty();) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    info[Trimmed(line.substr(0, colon))] = Trimmed(line.substr(colon + 1));
  }
  return info;
}

std::vector<std::string> Caches() {
  std::vector<std::string> caches;
  for (int index = 0;; ++index) {
    const std::string folder =
        fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    const std::string size = FirstLine(folder + "size");
    if (size.empty()) return caches;
    const std::string type = FirstLine(folder + "type");
    const char* const suffix =
        type == "Data" ? "d" : (type == "Instruction" ? "i" : "");
    caches.push_back(
        fmt::format("L{}{} {}", FirstLine(folder + "level"), suffix, size));
  }
}

}  // namespace

Machine ThisMachine() {
  std::map<std::string, std::string> info = ProcessorInfo();
  return {
      fmt::format("{} (family {}, model {}, stepping {})", info["model name"],
                  info["cpu family"], info["model"], info["stepping"]),
      static_cast<int>(std::thread::hardware_concurrency()), Caches(),
      info["flags"].find("hypervisor") != std::string::npos};
}

double CurrentLoad() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

std::string Describe(const Machine& machine) {
  return fmt::format("{}, {} cores{}, caches {}", machine.processor,
                     machine.cores, machine.is_virtual ? " (virtual)" : "",
                     fmt::join(machine.caches, ", "));
}

}  // namespace batchnorm::benchmark
