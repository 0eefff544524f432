// Every RPC of BatchNormService, bound to what answers it.
#ifndef BATCHNORMD_SERVER_RPC_METHODS_H_
#define BATCHNORMD_SERVER_RPC_METHODS_H_

#include <grpcpp/impl/service_type.h>

#include <memory>
#include <vector>

#include "server/rpc/call.h"
#include "server/rpc/join_call.h"
#include "server/session/registry.h"
#include "server/session/session.h"

namespace batchnorm::rpc {

// The generated service, taking undecoded bytes, so that parsing happens where
// the call is answered and not on a completion-queue thread.
struct ServiceMethods {
  std::unique_ptr<grpc::Service> service;
  std::vector<Method> methods;  // use `service`
  JoinMethod join;
};

// REQUIRES: the registry and the workers outlive the methods.
ServiceMethods MakeServiceMethods(session::Registry& registry,
                                  const session::TensorLimits& limits,
                                  kernel::Workers& workers);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_METHODS_H_
