#include "tests/benchmarks/builds/build.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <stdexcept>

namespace batchnorm::benchmark {
namespace {

void* Load(const std::string& file) {
  // A name without a folder would be looked for where libraries are installed.
  const std::string path = std::filesystem::absolute(file);
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw std::runtime_error(fmt::format(
        "{} is not a build of the kernel: {}\nhint: cmake --preset comparable "
        "&& cmake --build --preset comparable",
        file, dlerror()));
  }
  return library;
}

template <typename Function>
Function Find(void* library, const char* name) {
  void* const found = dlsym(library, name);
  if (found == nullptr) {
    throw std::runtime_error(
        fmt::format("a library without {} is not a build of the kernel", name));
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace

Build::Build(const std::string& file)
    : library_(Load(file)),
      make_(Find<decltype(make_)>(library_, "BnMakeLayer")),
      call_(Find<decltype(call_)>(library_, "BnCall")),
      free_(Find<decltype(free_)>(library_, "BnFreeLayer")) {}

Peer Build::MakePeer(const BnProblem& problem) const {
  const std::shared_ptr<BnLayer> layer(make_(&problem), free_);
  return {"kernel", problem.threads,
          Timed([call = call_, layer] { call(layer.get()); })};
}

}  // namespace batchnorm::benchmark
