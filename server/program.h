// batchnormd: flags, then the server, then waiting for a signal.
#ifndef BATCHNORMD_SERVER_PROGRAM_H_
#define BATCHNORMD_SERVER_PROGRAM_H_

#include <functional>
#include <memory>

#include "server/storage/store.h"

namespace batchnorm {

// What a test puts between the parts, to make them fail.
struct Hooks {
  std::function<std::unique_ptr<storage::Store>(
      std::unique_ptr<storage::Store>)>
      wrap_store = [](std::unique_ptr<storage::Store> store) { return store; };
  std::function<void()> on_turn = [] {};  // rpc::ServerOptions
};

// Returns the exit code: 0 drained, 1 it could not serve or store, 2 usage.
int RunProgram(int argc, char** argv, const Hooks& hooks = {});

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_PROGRAM_H_
