#include "server/rpc/call_record.h"

#include <algorithm>

namespace batchnorm::rpc {
namespace {

// version "-" trace-id "-" parent-id "-" flags, in lower-case hexadecimal.
constexpr std::string_view kForm =
    "00-00000000000000000000000000000000-0000000000000000-00";

bool Fits(char c, char form) {
  const bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  return form == '-' ? c == '-' : is_hex;
}

}  // namespace

std::string_view TraceparentOf(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("traceparent");
  if (found == metadata.end()) return "";
  const std::string_view sent(found->second.data(), found->second.size());
  const bool fits =
      std::equal(sent.begin(), sent.end(), kForm.begin(), kForm.end(), Fits);
  return fits ? sent : std::string_view();
}

}  // namespace batchnorm::rpc
