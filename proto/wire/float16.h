// The two 16-bit floating-point formats, one number at a time, for callers
// whose compiler has no type for them. Functions are pure and thread-safe.
#ifndef BATCHNORMD_PROTO_WIRE_FLOAT16_H_
#define BATCHNORMD_PROTO_WIRE_FLOAT16_H_

#include <cstdint>

namespace batchnorm {

// The value, exactly.
double DecodeF16(std::uint16_t bits);
double DecodeBF16(std::uint16_t bits);

// The nearest number of the format, ties to even: rounded once, so never by way
// of a float. Too large is Inf; any NaN is the quiet one of the same sign.
std::uint16_t EncodeF16(double value);
std::uint16_t EncodeBF16(double value);

}  // namespace batchnorm

#endif  // BATCHNORMD_PROTO_WIRE_FLOAT16_H_
