// How values are written in error texts. Pure functions, safe from any thread.
#ifndef BATCHNORMD_SERVER_SESSION_TEXT_H_
#define BATCHNORMD_SERVER_SESSION_TEXT_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server/kernel/tensor_view.h"

namespace batchnorm::session {

// "f32".
std::string Text(kernel::Dtype dtype);

// The shortest digits that read back as the same number: "0.1", "nan".
std::string Text(double value);

// "[2,512]".
std::string Text(std::span<const std::int64_t> values);
std::string Text(std::span<const std::int32_t> values);

// Bytes a caller sent, in quotes, unprintable ones escaped, cut where long.
std::string Quoted(std::string_view bytes);

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_TEXT_H_
