// One batch-norm layer of a training program, held in a session.
#ifndef BATCHNORMD_CLIENT_LAYER_H_
#define BATCHNORMD_CLIENT_LAYER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/types.h"

namespace batchnorm::client {

class Connection;  // connection.h

// A batch for Layer::Forward and Layer::Infer.
struct LayerInput {
  Tensor x = {};
  std::optional<Tensor> gamma = {};       // absent: ones
  std::optional<Tensor> beta = {};        // absent: zeros
  std::optional<double> new_weight = {};  // for this step only; not in Infer
};

// What comes back into Layer::Backward.
struct LayerGradient {
  std::uint64_t step = 0;  // ForwardResult::step
  Tensor dy = {};
  // Keeps the step open for another Backward with another dy.
  bool keep_open = false;
  // In a group: which Backward of the step it is, alike on all ranks.
  std::uint32_t pass = 0;
};

// A handle on one session that numbers its steps.
//
// Forward takes the next step, under one number however often it is tried. The
// layer holds x and gamma of each open step, so that a Backward whose input the
// server no longer keeps (INPUT_EVICTED) is sent again with them; a step is
// open from its Forward until its Backward, or until it leaves the session's
// step window. Opened on a session that exists, it continues after its last
// step. From client/examples/train.cc [train]:
//
//     Client client({.target = address});
//     auto layer = client.OpenLayer("examples/train", {.channels = 1});
//     if (!layer.ok()) return layer.status();
//     for (int i = 0; i < kSteps; ++i) {
//       const std::vector<float> x = NextBatch();
//       auto forward = layer->Forward({.x = MakeTensor(x, {kBatch, 1}),
//                                      .gamma = MakeTensor(gamma, {1}),
//                                      .beta = MakeTensor(beta, {1})});
//       if (!forward.ok()) return forward.status();
//       auto gradients = layer->Backward(
//           {.step = forward->step, .dy = LossGradient(x, forward->y)});
//       if (!gradients.ok()) return gradients.status();
//       gamma[0] -= kLearningRate * gradients->dgamma[0];
//       beta[0] -= kLearningRate * gradients->dbeta[0];
//     }
//
// Performance: x and gamma are moved in and held, not copied; they are copied
// into a Backward that must bring them. Memory is that of the open steps.
//
// Thread Safety: all methods may be called from any thread. Forwards take their
// steps one after another; everything else runs at the same time. One session
// has one Layer that trains it: two would take each other's steps, and are told
// so (STEP_REUSED).
//
// Groups: in a session with a world_size above 1 each rank has a Layer and
// sends its own shard. Forward and Backward then wait for the other ranks, and
// are sent again when the group was not complete (ABORTED), as the connection's
// retry policy says. Presence (presence.h) tells the others when this process
// is gone; SyncLayer (sync_layer.h) keeps the tensors here.
//
// Writers: a layer is not fenced until it is acquired. Once it is, and another
// run acquires the session, Forward, Backward, Infer and Restore fail with
// FAILED_PRECONDITION and the reason `FENCED`: the program should end. Acquire
// would take the session back, and the two would take turns.
//
// Error Handling: a Forward that fails has not taken its step, and the next
// Forward has the same number, whatever its batch. Only if the outcome is
// unknown (UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, RESOURCE_EXHAUSTED
// without a Reason) may the server have taken it: then call Forward with the
// same batch, which settles it, or Resume, which skips a step that was taken.
// NOT_FOUND means that the server has forgotten the session, and DATA_LOSS that
// it has lost steps this layer has seen: neither is repaired silently.
class Layer {
 public:
  // The session must be one that the connection's server has just returned.
  Layer(std::shared_ptr<Connection> connection, const SessionInfo& session,
        std::uint32_t rank = 0);
  Layer(Layer&&) noexcept;
  Layer& operator=(Layer&&) noexcept;
  ~Layer();

  // Normalizes by the batch's own statistics and takes the next step.
  absl::StatusOr<ForwardResult> Forward(LayerInput input);

  // The gradients of one step.
  absl::StatusOr<BackwardResult> Backward(LayerGradient gradient);

  // Normalizes by the running statistics; takes no step.
  absl::StatusOr<ForwardResult> Infer(LayerInput input) const;

  // The session now, running statistics included.
  absl::StatusOr<SessionInfo> GetSession() const;

  // Becomes the session's writer and continues after its last step: every call
  // of this layer carries the token from now on, and another run's are refused.
  // `at_least_step` is that of the checkpoint the program resumes from;
  // DATA_LOSS if the session is behind it, or behind a step this layer has
  // seen. Never called by the layer itself: one that was fenced stays so.
  absl::Status Acquire(std::uint64_t at_least_step);

  // Sets the session to a snapshot, forward or back, and continues after it.
  // The layer stays the writer if it is; all others are fenced. Steps that were
  // open are closed: their gradients are of a past that is no more.
  absl::Status Restore(const SessionSnapshot& snapshot);

  // Reads the session and continues after its last step. DATA_LOSS if that is
  // behind a step this layer has seen.
  absl::Status Resume();

  const std::string& name() const;
  // The last step whose reply this layer has seen; 0 before the first.
  std::uint64_t last_step() const;
  // How many steps are open.
  std::size_t open_steps() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_LAYER_H_
