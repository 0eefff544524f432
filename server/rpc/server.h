// The service on its listeners: sessions, compute threads, completion queues,
// health and reflection. The program constructs one; tests run it in process:
//
//   ServerOptions options;
//   options.listen = {"localhost:0"};
//   absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options);
//   ... (*server)->addresses()[0] ...
//   (*server)->Drain(absl::ZeroDuration());  // or let the destructor do it
//
// Start and Drain are called from one thread; addresses() from any.
#ifndef BATCHNORMD_SERVER_RPC_SERVER_H_
#define BATCHNORMD_SERVER_RPC_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/access/reloaded.h"
#include "server/rpc/access_options.h"
#include "server/rpc/call_record.h"

namespace batchnorm::storage {
class Store;
}  // namespace batchnorm::storage

namespace batchnorm::rpc {

inline constexpr int kMaxThreads = 1024;

inline constexpr std::int64_t kMinMessageBytes = 64 << 10;
// Below the largest int, in which gRPC and protobuf count.
inline constexpr std::int64_t kMaxMessageBytes = (std::int64_t{1} << 31) - 2;

struct ServerOptions {
  // HOST:PORT (port 0: any free one) or unix:PATH, each a listener.
  std::vector<std::string> listen = {"localhost:50051"};
  // Who may call.
  AccessOptions access = {};
  // Threads that compute, at most kMaxThreads; 0 means one a core.
  int threads = 0;
  // Threads that share the work of one large tensor, the computing one among
  // them; 0 means one a core, 1 that each tensor has one thread.
  int tensor_threads = 0;
  std::int64_t max_sessions = 100'000;
  std::int64_t max_tensor_bytes = std::int64_t{1} << 30;
  // The most request bytes that are worked on at once, over all calls. A call
  // larger than that is accepted only while no other tensor call runs.
  std::int64_t max_bytes_in_flight = std::int64_t{4} << 30;
  // Where sessions are stored; outlives the server. Null: in memory only.
  storage::Store* store = nullptr;
  // Memory for sessions, without their kept inputs; the rest is in the store.
  std::int64_t loaded_bytes = std::int64_t{256} << 20;
  // Memory for inputs that are kept for Backward, over all sessions.
  std::int64_t kept_input_bytes = std::int64_t{1} << 30;
  // Sessions that are idle for longer are forgotten: all of them if they are in
  // memory only, else those that the server named.
  absl::Duration idle_ttl = absl::Hours(24);
  // How long the ranks of a group wait for each other.
  absl::Duration barrier_timeout = absl::Seconds(30);
  // The largest message in either direction, from kMinMessageBytes to
  // kMaxMessageBytes.
  std::int64_t max_message_bytes = (std::int64_t{1} << 31) - (1 << 20);
  // Whether the schema can be asked for (grpcurl, buf curl).
  bool reflection = true;
  // How long calls in flight have to finish once new ones are refused.
  absl::Duration finish_timeout = absl::Seconds(20);
  // Called on a computing thread when a tensor call's turn has come, before it
  // is looked at whether its caller still waits. Tests hold calls there.
  std::function<void()> on_turn = [] {};
  // Told of each call of the service that has ended.
  CallObserver on_answered = [](const CallRecord&) {};
};

// What a server does and has done. For metrics, log lines and tests.
struct ServerCounters {
  std::int64_t calls = 0;     // finished, whatever their outcome
  std::int64_t given_up = 0;  // by their callers: cancelled, or out of time
  std::int64_t bytes_in_flight = 0;
  std::int64_t queued_tensor_calls = 0;  // waiting for a thread
  std::int64_t queued_session_calls = 0;
  std::int64_t sessions = 0;
  std::int64_t loaded_sessions = 0;
  std::int64_t kept_input_bytes = 0;
  std::int64_t evicted_inputs = 0;
  access::ReloadCounts reloads;
  absl::Duration kernel_time;  // of all threads that answer calls
};

class Server {
 public:
  // Listens on every address, or on none: INVALID_ARGUMENT if an option makes
  // no sense, UNAVAILABLE naming the address that could not be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options);

  // Drains without grace, unless Drain has been called.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // What clients dial, in the order of options.listen, with the real ports.
  const std::vector<std::string>& addresses() const;

  ServerCounters counters() const;

  // Ends service in three steps: health becomes NOT_SERVING; for `grace` all
  // calls are still served, so that load balancers can turn away; then new
  // calls are refused (UNAVAILABLE `SERVER_DRAINING`) and those in flight
  // finish, or are cancelled after options.finish_timeout. Returns when
  // everything has stopped.
  void Drain(absl::Duration grace);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_SERVER_H_
