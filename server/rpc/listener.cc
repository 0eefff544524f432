#include "server/rpc/listener.h"

#include <arpa/inet.h>
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

std::string_view HostOf(std::string_view address) {
  return address.substr(0, address.rfind(':'));
}

// 127.0.0.0/8.
bool IsLoopbackNumber(const std::string& host) {
  in_addr number{};
  return inet_pton(AF_INET, host.c_str(), &number) == 1 &&
         ntohl(number.s_addr) >> 24 == 127;
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

std::optional<sockaddr_un> UnixAddressOf(const std::string& address) {
  return UnixAddress(std::string_view(address).substr(kUnixPrefix.size()));
}

absl::Status CheckFree(const std::string& address) {
  if (!IsUnix(address)) return absl::OkStatus();
  const std::optional<sockaddr_un> path = UnixAddressOf(address);
  if (!path.has_value() || !SomebodyServes(*path)) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address,
                                             ": another process serves it"));
}

}  // namespace

bool IsUnix(std::string_view address) {
  return address.substr(0, kUnixPrefix.size()) == kUnixPrefix;
}

bool IsLoopback(std::string_view address) {
  const std::string host(HostOf(address));
  return host == "localhost" || host == "[::1]" || host == "::1" ||
         IsLoopbackNumber(host);
}

absl::Status CheckForm(const std::string& address) {
  if (IsUnix(address)) {
    if (UnixAddressOf(address)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "expected unix:PATH with a path of 1 to ",
        sizeof(sockaddr_un::sun_path) - 1, " bytes, got '", address, "'"));
  }
  if (IsHostPort(address)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "expected HOST:PORT or unix:PATH to listen on, got '", address, "'"));
}

absl::Status Listeners::Add(
    const std::string& address,
    const std::shared_ptr<grpc::ServerCredentials>& credentials,
    grpc::ServerBuilder& builder) {
  absl::Status status = CheckForm(address);
  if (status.ok()) status = CheckFree(address);
  if (!status.ok()) return status;
  Listener& listener = listeners_.emplace_back(
      Listener{.address = address, .credentials = credentials});
  builder.AddListeningPort(address, credentials, &listener.port);
  return absl::OkStatus();
}

absl::Status Listeners::CheckBound() const {
  for (const Listener& listener : listeners_) {
    if (listener.port > 0) continue;
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", listener.address,
        ": the address is in use, not known, not of this machine, not "
        "permitted, or in "
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
            : absl::StrCat(std::string(HostOf(listener.address)), ":",
                           listener.port));
  }
  return addresses;
}

}  // namespace batchnorm::rpc
