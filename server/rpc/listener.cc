#include "server/rpc/listener.h"

#include <grpcpp/security/server_credentials.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace batchnorm::rpc {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

bool IsUnix(std::string_view address) {
  return address.substr(0, kUnixPrefix.size()) == kUnixPrefix;
}

std::string HostOf(const std::string& address) {
  return address.substr(0, address.rfind(':'));
}

bool IsHostPort(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view port = address.substr(colon + 1);
  int number = -1;
  const auto [end, error] =
      std::from_chars(port.data(), port.data() + port.size(), number);
  return error == std::errc() && end == port.data() + port.size() &&
         number >= 0 && number <= 65535;
}

std::optional<sockaddr_un> UnixAddress(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return std::nullopt;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool SomebodyServes(const sockaddr_un& address) {
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  const bool connected =
      connect(probe, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) == 0;
  close(probe);
  return connected;
}

absl::Status CheckUnix(const std::string& address) {
  const std::optional<sockaddr_un> path =
      UnixAddress(std::string_view(address).substr(kUnixPrefix.size()));
  if (!path) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected unix:PATH with a path of 1 to ",
        sizeof(sockaddr_un::sun_path) - 1, " bytes, got '", address, "'"));
  }
  if (!SomebodyServes(*path)) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address,
                                             ": another process serves it"));
}

absl::Status CheckAddress(const std::string& address) {
  if (IsUnix(address)) return CheckUnix(address);
  if (IsHostPort(address)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "expected HOST:PORT or unix:PATH to listen on, got '", address, "'"));
}

}  // namespace

absl::Status Listeners::Add(const std::string& address,
                            grpc::ServerBuilder& builder) {
  absl::Status status = CheckAddress(address);
  if (!status.ok()) return status;
  Listener& listener = listeners_.emplace_back(Listener{.address = address});
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(),
                           &listener.port);
  return absl::OkStatus();
}

absl::Status Listeners::CheckBound() const {
  for (const Listener& listener : listeners_) {
    if (listener.port > 0) continue;
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", listener.address,
        ": the address is in use, not of this machine, not permitted, or in "
        "a directory that is not there"));
  }
  return absl::OkStatus();
}

std::vector<std::string> Listeners::addresses() const {
  std::vector<std::string> addresses;
  addresses.reserve(listeners_.size());
  for (const Listener& listener : listeners_) {
    addresses.push_back(
        IsUnix(listener.address)
            ? listener.address
            : absl::StrCat(HostOf(listener.address), ":", listener.port));
  }
  return addresses;
}

}  // namespace batchnorm::rpc
