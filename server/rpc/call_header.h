// Whose part of what a tensor call is, read from its first bytes: tensors come
// last in every request, and need not be looked at. Thread-safe.
#ifndef BATCHNORMD_SERVER_RPC_CALL_HEADER_H_
#define BATCHNORMD_SERVER_RPC_CALL_HEADER_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>

#include "server/session/group_view.h"

namespace batchnorm::rpc {

struct CallHeader {
  std::string session;
  std::uint32_t rank = 0;
  session::PhaseKey key;
};

// Of a ForwardRequest or a BackwardRequest. What cannot be read stays empty.
CallHeader ReadHeader(const grpc::ByteBuffer& request, session::Phase phase);

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_CALL_HEADER_H_
