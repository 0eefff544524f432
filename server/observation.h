// What is told of calls as they end: counted for an operator, logged at debug.
#ifndef BATCHNORMD_SERVER_OBSERVATION_H_
#define BATCHNORMD_SERVER_OBSERVATION_H_

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "server/admin/metrics.h"
#include "server/rpc/server.h"

namespace batchnorm {

// Outlives the server that it observes. Thread-safe.
class Observation {
 public:
  // Serves metrics on HOST:PORT; on nothing if that is empty. Errors as
  // admin::Metrics::Start.
  static absl::StatusOr<std::unique_ptr<Observation>> Start(
      const std::string& metrics_address);

  // For ServerOptions::on_answered.
  rpc::CallObserver observer();

  // While one exists, levels are its server's.
  class Watch {
   public:
    Watch(Observation& observation, const rpc::Server& server)
        : observation_(observation) {
      observation_.LookAt(&server);
    }
    ~Watch() { observation_.LookAt(nullptr); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    Observation& observation_;
  };

  // Where metrics are; empty if nowhere.
  std::string metrics_address() const;

 private:
  Observation() = default;
  void LookAt(const rpc::Server* server);
  admin::Levels Levels() const;

  mutable std::mutex mutex_;
  const rpc::Server* server_ = nullptr;      // guarded by mutex_
  std::unique_ptr<admin::Metrics> metrics_;  // last: its threads use the rest
};

}  // namespace batchnorm

#endif  // BATCHNORMD_SERVER_OBSERVATION_H_
