// What a completion queue delivers: each tag is an Event.
#ifndef BATCHNORMD_SERVER_RPC_EVENT_H_
#define BATCHNORMD_SERVER_RPC_EVENT_H_

#include <functional>

namespace batchnorm::rpc {

struct Event {
  std::function<void(bool ok)> react;

  // Reacts to what a queue delivered.
  static void React(void* tag, bool ok) { static_cast<Event*>(tag)->react(ok); }
};

}  // namespace batchnorm::rpc

#endif  // BATCHNORMD_SERVER_RPC_EVENT_H_
