// What `bn demo` prints, as text in 80 columns, JSON or CSV. Pure and
// thread-safe.
#ifndef BATCHNORMD_CLIENT_CLI_DEMO_REPORT_H_
#define BATCHNORMD_CLIENT_CLI_DEMO_REPORT_H_

#include <cstddef>
#include <string>

#include "client/cli/demo_gradient_check.h"
#include "client/cli/demo_training.h"

namespace batchnorm::cli {

// In the order in which they are printed.
std::string Introduction(std::size_t digits, const std::string& session_prefix);
std::string EpochLine(const EpochReport& epoch);
std::string AccuracyLine(const TrainingReport& report);
std::string CallTable(const TrainingReport& report);
std::string GradientTable(const GradientProbe& probe,
                          const GradientErrors& errors);
std::string StatisticsTable(const TrainingReport& report);

// Everything, as one object.
std::string DemoJson(const TrainingReport& report,
                     const GradientErrors& errors);

// The epochs.
std::string DemoCsv(const TrainingReport& report);

}  // namespace batchnorm::cli

#endif  // BATCHNORMD_CLIENT_CLI_DEMO_REPORT_H_
