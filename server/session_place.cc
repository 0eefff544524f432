#include "server/session_place.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace batchnorm {
namespace {

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

const char* WhatSurvives(storage::Durability durability) {
  switch (durability) {
    case storage::Durability::kFull:
      return "what is acknowledged survives a power failure";
    case storage::Durability::kNormal:
      return "what is acknowledged survives a killed process; a power failure "
             "may undo the last steps";
    case storage::Durability::kOff:
      return "what is acknowledged survives a killed process; a power failure "
             "may damage everything";
  }
  return "";
}

}  // namespace

std::string DefaultDataDirectory() {
  const std::string of_service = Variable("STATE_DIRECTORY");
  if (!of_service.empty()) return of_service.substr(0, of_service.find(':'));
  const std::string state = Variable("XDG_STATE_HOME");
  if (!state.empty()) return state + "/batchnormd";
  const std::string home = Variable("HOME");
  if (!home.empty()) return home + "/.local/state/batchnormd";
  return "";
}

absl::StatusOr<std::unique_ptr<SessionPlace>> SessionPlace::Open(
    const StorageOptions& options, const Wrap& wrap) {
  std::unique_ptr<SessionPlace> place(new SessionPlace);
  if (options.in_memory) {
    place->promise_ = "sessions are in memory only: none survives this process";
    return place;
  }
  if (absl::Status opened = place->OpenSqlite(options, wrap); !opened.ok()) {
    return opened;
  }
  return place;
}

absl::Status SessionPlace::OpenSqlite(const StorageOptions& options,
                                      const Wrap& wrap) {
  const std::string path = options.data_directory.empty()
                               ? DefaultDataDirectory()
                               : options.data_directory;
  if (path.empty()) {
    return absl::InvalidArgumentError(
        "--data-dir: expected a folder for the sessions, or --store memory");
  }
  auto directory = storage::DataDirectory::Open(path);
  if (!directory.ok()) return directory.status();
  directory_ = *std::move(directory);
  auto store = storage::SqliteStore::Open({.path = directory_->SessionsPath(),
                                           .durability = options.durability,
                                           .log_room = options.log_room,
                                           .on_broken = [this] { Break(); }});
  if (!store.ok()) {
    return absl::Status(
        store.status().code(),
        absl::StrCat("data directory ", path, ": ", store.status().message()));
  }
  store_ = wrap(*std::move(store));
  promise_ = absl::StrCat("sessions are stored in ", path, "; ",
                          WhatSurvives(options.durability));
  return absl::OkStatus();
}

void SessionPlace::Break() {
  spdlog::critical(
      "the disk failed while sessions were stored; nothing is acknowledged any "
      "more, and this server stops: start it again to serve what is stored");
  is_broken_ = true;
  kill(getpid(), SIGTERM);
}

}  // namespace batchnorm
