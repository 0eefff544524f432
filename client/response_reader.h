// Internal. Takes tensors out of a response and remembers the first that breaks
// the contract, so that a caller reads all fields and checks once.
#ifndef BATCHNORMD_CLIENT_RESPONSE_READER_H_
#define BATCHNORMD_CLIENT_RESPONSE_READER_H_

#include <vector>

#include "absl/status/status.h"
#include "batchnorm/v1/tensor.pb.h"
#include "proto/wire/tensor.h"

namespace batchnorm::client {

// Used by one thread. After an error, reads return empty values.
class ResponseReader {
 public:
  // A tensor of any dtype; `field` is named in errors.
  Tensor Read(v1::Tensor&& tensor, const char* field);

  // A number per channel: F64.
  std::vector<double> ReadVector(const v1::Tensor& tensor, const char* field);

  // OK, or INTERNAL with what was expected and what came.
  const absl::Status& status() const { return status_; }

 private:
  void Refuse(const v1::Tensor& tensor, const char* field,
              const char* expected);

  absl::Status status_;
};

}  // namespace batchnorm::client

#endif  // BATCHNORMD_CLIENT_RESPONSE_READER_H_
