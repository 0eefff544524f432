// Unary calls of many connections, released together.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SYNC_VOLLEY_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SYNC_VOLLEY_H_

#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>
#include <vector>

namespace batchnorm::benchmark {

struct Shot {
  std::size_t connection;
  std::string method;
  grpc::ByteBuffer request;
};

class Volley {
 public:
  // `connections` to a server, each of its own, all made.
  Volley(const std::string& address, std::size_t connections);
  ~Volley();

  Volley(const Volley&) = delete;
  Volley& operator=(const Volley&) = delete;

  // Seconds from the first call's begin to the last one's reply. The replies
  // are in the order of the shots. Throws std::runtime_error with the words of
  // the first that fails.
  double Fire(const std::vector<Shot>& shots,
              std::vector<grpc::ByteBuffer>* replies = nullptr);

  // Begins calls that wait for others; Collect waits for them.
  void Begin(const std::vector<Shot>& shots);
  void Collect();

 private:
  struct Call;

  void Start(const Shot& shot);

  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Call>> calls_;
};

grpc::ByteBuffer BytesOf(const std::string& text);

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SYNC_VOLLEY_H_
