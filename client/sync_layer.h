// One batch-norm layer of a group, whose tensors stay here.
#ifndef BATCHNORMD_CLIENT_SYNC_LAYER_H_
#define BATCHNORMD_CLIENT_SYNC_LAYER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/layer.h"
#include "client/types.h"

namespace batchnorm::client {

class Connection;  // connection.h

// A rank that sums its shard itself, exactly, by the server's own kernel, and
// sends the sums: some tens of bytes a channel. With the finished numbers of
// the whole batch it computes y and dx itself. Every result is, to the last
// bit, what a Layer gets that sends its tensors; ranks of one group may be of
// either kind. From client/examples/sync.cc [sync]:
//
//     auto layer = client.OpenSyncLayer(name, config, rank);
//     if (!layer.ok()) return layer.status();
//     auto forward = layer->Forward({.x = MakeTensor(shard, {rows, 1})});
//     if (!forward.ok()) return forward.status();
//     auto gradients = layer->Backward({.step = forward->step, .dy = dy});
//     if (!gradients.ok()) return gradients.status();
//
// A step is open from its Forward until its Backward, or until it leaves the
// session's step window; x and gamma of open steps are held.
//
// Performance: computes on the calling thread. Thread Safety: as Layer.
//
// Error Handling: as Layer, and INVALID_ARGUMENT with the server's reasons for
// what is refused here; FAILED_PRECONDITION `INPUT_EVICTED` for a Backward of a
// step that is not open. FAILED_PRECONDITION `OUT_OF_RANGE_FOR_SYNC` where a
// channel's numbers leave the range in which y can be computed from what Sync
// returns (inv_std or differences beyond that of a double): the step is taken,
// and not open; use a Layer.
class SyncLayer {
 public:
  SyncLayer(std::shared_ptr<Connection> connection, const SessionInfo& session,
            std::uint32_t rank);
  SyncLayer(SyncLayer&&) noexcept;
  SyncLayer& operator=(SyncLayer&&) noexcept;
  ~SyncLayer();

  absl::StatusOr<ForwardResult> Forward(LayerInput input);
  absl::StatusOr<BackwardResult> Backward(const LayerGradient& gradient);

  // As Layer's: becomes the rank's writer, and continues after the last step.
  absl::Status Acquire(std::uint64_t at_least_step);

  const std::string& name() const;
  // The last step whose reply this layer has seen; 0 before the first.
  std::uint64_t last_step() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_SYNC_LAYER_H_
