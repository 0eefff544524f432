// What Backward needs of a step besides dy. Immutable once it is shared.
#ifndef BATCHNORMD_SERVER_SESSION_KEPT_INPUT_H_
#define BATCHNORMD_SERVER_SESSION_KEPT_INPUT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "server/kernel/channel_layout.h"
#include "server/kernel/train.h"
#include "server/session/tensor.h"

namespace batchnorm::session {

struct KeptInput {
  Tensor x;  // shares the request's bytes
  kernel::ChannelLayout layout;
  std::vector<double> gamma;                        // empty: ones
  std::shared_ptr<const kernel::TrainBatch> batch;  // what it comes to

  std::int64_t x_bytes() const {
    return static_cast<std::int64_t>(x.view().bytes.size());
  }

  // What the quota counts: small batches of many channels have more bytes of
  // sums than of x.
  std::int64_t total_bytes() const {
    return x_bytes() +
           static_cast<std::int64_t>(gamma.size() * sizeof(double)) +
           (batch ? layout.channels() * kernel::TrainBatch::kBytesAChannel : 0);
  }
};

}  // namespace batchnorm::session

#endif  // BATCHNORMD_SERVER_SESSION_KEPT_INPUT_H_
