#include "client/acquire_session.h"

#include <cstddef>
#include <random>
#include <string>
#include <utility>

#include "client/messages.h"

namespace batchnorm::client {
namespace {

constexpr std::size_t kNonceBytes = 16;

// From the system's source, not from a seeded engine: programs that are forked
// or restored from one image must not be taken for one writer.
std::string NewNonce() {
  std::random_device source;
  std::uniform_int_distribution<int> byte(0, 255);
  std::string nonce(kNonceBytes, '\0');
  for (char& c : nonce) c = static_cast<char>(byte(source));
  return nonce;
}

}  // namespace

absl::StatusOr<AcquireSessionResult> AcquireSession(
    Connection& connection, const AcquireSessionArgs& args) {
  v1::AcquireSessionRequest request = ToProto(args);
  request.set_nonce(NewNonce());
  auto response = connection.AcquireSession(request);
  if (!response.ok()) return response.status();
  return AcquireSessionResult{
      .writer_token = std::move(*response->mutable_writer_token()),
      .last_step = response->last_step()};
}

}  // namespace batchnorm::client
