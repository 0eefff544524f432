// Bits from the system's generator, not a seeded one: names and tokens are
// secrets. Functions are safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_RANDOM_H_
#define BATCHNORMD_SERVER_SESSION_RANDOM_H_

#include <cstdint>
#include <string>

namespace batchnorm::session {

std::uint64_t Random64();

// 128 bits as 32 digits.
std::string RandomHex();

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_RANDOM_H_
