// Names of gRPC's canonical status codes. Pure, hence thread-safe.
#ifndef BATCHNORMD_PROTO_WIRE_CODE_NAME_H_
#define BATCHNORMD_PROTO_WIRE_CODE_NAME_H_

#include <string_view>

namespace batchnorm::wire {

// "INVALID_ARGUMENT" of 3; "UNKNOWN" of a number that is no code.
std::string_view CodeName(int code);

}  // namespace batchnorm::wire

#endif  // BATCHNORMD_PROTO_WIRE_CODE_NAME_H_
