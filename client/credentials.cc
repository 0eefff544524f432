#include "client/credentials.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "proto/wire/status_codec.h"

namespace batchnorm::client {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  errno = 0;
  const std::ifstream file(path, std::ios::binary);
  if (!file.is_open() || std::filesystem::is_directory(path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": cannot be read: ", std::strerror(errno != 0 ? errno : EISDIR)));
  }
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::Status CheckToken(const std::string& path, const std::string& token) {
  const bool is_word =
      !token.empty() && std::all_of(token.begin(), token.end(), [](char c) {
        return absl::ascii_isgraph(static_cast<unsigned char>(c));
      });
  if (is_word) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": expected one word, the token"));
}

bool StaysWithinThisMachine(std::string_view target) {
  for (const std::string_view prefix :
       {"unix:", "localhost:", "127.", "[::1]"}) {
    if (target.starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<Credentials> ReadCredentials(const CredentialFiles& files) {
  if (files.certificate.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(
        "expected a certificate and its key, got only one of them");
  }
  Credentials read;
  for (const auto& [path, text] :
       {std::pair{&files.ca, &read.ca},
        std::pair{&files.certificate, &read.certificate},
        std::pair{&files.key, &read.key},
        std::pair{&files.token, &read.token}}) {
    if (path->empty()) continue;
    absl::StatusOr<std::string> content = ReadFile(*path);
    if (!content.ok()) return content.status();
    *text = *std::move(content);
  }
  if (files.token.empty()) return read;
  absl::StripAsciiWhitespace(&read.token);
  absl::Status is_token = CheckToken(files.token, read.token);
  if (!is_token.ok()) return is_token;
  return read;
}

absl::Status CheckSecrecy(const Credentials& credentials,
                          const std::string& target) {
  if (credentials.token.empty() || credentials.encrypts() ||
      StaysWithinThisMachine(target)) {
    return absl::OkStatus();
  }
  return wire::FromGrpcStatus(wire::ToGrpcStatus(
      absl::InvalidArgumentError(
          "expected a CA to encrypt with, as the token would travel for others "
          "to read, got none"),
      wire::ErrorDetail{.reason = "TOKEN_IN_PLAINTEXT"}));
}

}  // namespace batchnorm::client
