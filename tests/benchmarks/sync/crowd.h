// Many small groups at one server: whether one of them is slower while all
// others wait inside their barriers, and all of them at once.
#ifndef BATCHNORMD_TESTS_BENCHMARKS_SYNC_CROWD_H_
#define BATCHNORMD_TESTS_BENCHMARKS_SYNC_CROWD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/benchmarks/sync/sync_contest.h"
#include "tests/benchmarks/sync/volley.h"

namespace batchnorm::benchmark {

class Crowd {
 public:
  // Of two ranks and 64 channels each.
  Crowd(const std::string& address, const std::string& echo_address,
        std::size_t groups);

  // A step of one more group while all others wait, over its step alone.
  double BesideWaiting();
  // The forwards of all of them at once, over as many echoes.
  double AllOverEcho();

 private:
  // The forwards of the ranks from `first` up to `end`, of every group.
  std::vector<Shot> Forwards(std::size_t first, std::size_t end) const;
  double StepOfOne();

  GroupMessages messages_;
  std::vector<std::string> names_;
  Volley volley_;
  Volley echo_;
  GroupSteps one_;
  std::uint64_t step_ = 0;
};

}  // namespace batchnorm::benchmark

#endif  // BATCHNORMD_TESTS_BENCHMARKS_SYNC_CROWD_H_
