// The steps of one group of ranks with kernels of their own: sums out, finished
// numbers back, forward and backward.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SYNC_SYNC_CONTEST_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SYNC_SYNC_CONTEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/benchmarks/sync/volley.h"

namespace batchnorm::benchmark {

struct GroupSize {
  std::size_t ranks;
  std::int64_t channels;
};

// The messages of each rank, with exact sums of f32 normal numbers.
class GroupMessages {
 public:
  GroupMessages(std::string session, GroupSize size);

  std::vector<Shot> Forwards(std::uint64_t step) const;
  std::vector<Shot> Backwards(std::uint64_t step) const;
  // A group whose session is one of many: `offset` is its first connection.
  std::vector<Shot> Forwards(std::uint64_t step, const std::string& session,
                             std::size_t offset) const;
  std::vector<Shot> Backwards(std::uint64_t step, const std::string& session,
                              std::size_t offset) const;

  const std::string& session() const { return session_; }
  // Doubles of one rank's forward sums: what an all-reduce would carry.
  std::size_t doubles() const { return doubles_; }

 private:
  std::vector<Shot> Shots(const std::string& session, std::uint64_t step,
                          const std::vector<std::string>& sums,
                          std::size_t offset) const;

  std::string session_;
  std::vector<std::string> forward_;  // a SyncRequest without session and step
  std::vector<std::string> backward_;
  std::size_t doubles_ = 0;
};

// A session of that many ranks; memory-only servers forget it by themselves.
void CreateGroup(Volley& volley, const std::string& session, GroupSize size);

// As many calls of an echo server, which sends back so many bytes.
std::vector<Shot> Echoes(const std::vector<Shot>& shots, std::size_t reply);

// Seconds of a step of all ranks.
class GroupSteps {
 public:
  GroupSteps(const std::string& address, GroupSize size);

  double Step();
  // The same number of calls of the same sizes against an echo server.
  double Echo(Volley& echo) const;
  const GroupMessages& messages() const { return messages_; }
  const std::string& session() const { return messages_.session(); }

 private:
  GroupMessages messages_;
  Volley volley_;
  std::uint64_t step_ = 0;
  std::size_t forward_reply_ = 0;  // bytes
  std::size_t backward_reply_ = 0;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SYNC_SYNC_CONTEST_H_
