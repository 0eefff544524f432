// Levels as Prometheus sees them.
#ifndef BATCHNORMD_SERVER_ADMIN_LEVELS_H_
#define BATCHNORMD_SERVER_ADMIN_LEVELS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <string>
#include <vector>

#include "server/admin/metrics.h"

namespace batchnorm::admin {

// Asks when it is asked.
class LevelsCollector final : public prometheus::Collectable {
 public:
  LevelsCollector(std::string version, std::function<Levels()> look);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string version_;
  const std::function<Levels()> look_;
};

}  // namespace batchnorm::admin

#endif  // BATCHNORMD_SERVER_ADMIN_LEVELS_H_
