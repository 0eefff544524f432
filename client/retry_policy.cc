#include "client/retry_policy.h"

#include <random>

namespace batchnorm::client {

double RetryEnvironment::RandomFraction() {
  // Seeded apart in every thread and process, so that clients which failed
  // together do not return together.
  thread_local std::minstd_rand engine{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(engine);
}

}  // namespace batchnorm::client
