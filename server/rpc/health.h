// grpc.health.v1.Health of one server. gRPC has one of its own, but answers it
// by threads that poll for the whole server, and so take other calls' messages
// from the network only to hand them on.
#ifndef BATCHNORMD_SERVER_RPC_HEALTH_H_
#define BATCHNORMD_SERVER_RPC_HEALTH_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/state_stream.h"

namespace batchnorm::rpc {

// Thread-safe. Outlives its calls.
class Health {
 public:
  using Response = grpc::health::v1::HealthCheckResponse;
  using Service = grpc::health::v1::Health::WithAsyncMethod_Check<
      grpc::health::v1::Health::WithRawMethod_Watch<
          grpc::health::v1::Health::Service>>;

  // Of the server as a whole, "", and of the service of this name. Neither
  // serves yet.
  explicit Health(std::string service_name)
      : service_name_(std::move(service_name)) {}

  // To be registered.
  Service& service() { return service_; }
  // Asks gRPC for calls of both methods.
  void Post(const CallFloor& floor);

  void SetServing(bool serving);
  // Ends all that watch, now and later.
  void EndWatches();

  // SERVICE_UNKNOWN of any other name.
  Response Of(std::string_view service) const;

  // Tells `watcher` how the service is, now and whenever it changes.
  void AddWatcher(std::string_view service,
                  const std::shared_ptr<StateStream>& watcher);
  void RemoveWatcher(const std::shared_ptr<StateStream>& watcher);

 private:
  bool Knows(std::string_view service) const {
    return service.empty() || service == service_name_;
  }
  Response Now(bool known) const;  // REQUIRES: mutex_ is held

  const std::string service_name_;
  Service service_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  bool serving_ = false;
  bool has_ended_ = false;
  // Each, and whether it watches what is known.
  std::map<std::shared_ptr<StateStream>, bool> watchers_;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_HEALTH_H_
