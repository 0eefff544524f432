#include "server/admin/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admin/levels.h"

namespace batchnorm::admin {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;

constexpr std::size_t kThreads = 2;

// From a small Forward on one machine to a barrier's timeout.
const Histogram::BucketBoundaries kSeconds = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1,    0.25,    0.5,    1,     2.5,    5,     10,   30};

// An exception is how the library says that it cannot bind.
absl::StatusOr<std::unique_ptr<prometheus::Exposer>> Listen(
    const std::string& address) {
  try {
    return std::make_unique<prometheus::Exposer>(address, kThreads);
  } catch (const std::exception&) {
    return absl::UnavailableError(absl::StrCat(
        "cannot serve metrics on ", address,
        ": the address is in use, not known, not of this machine, or not "
        "permitted"));
  }
}

}  // namespace

struct Metrics::State {
  State(std::unique_ptr<prometheus::Exposer> bound, std::string bound_address,
        const std::string& version, std::function<Levels()> look)
      : address(std::move(bound_address)),
        calls(prometheus::BuildCounter()
                  .Name("batchnormd_calls_total")
                  .Help("Calls that have ended, by gRPC status.")
                  .Register(*registry)),
        durations(prometheus::BuildHistogram()
                      .Name("batchnormd_call_duration_seconds")
                      .Help("Time from a request's arrival to its answer; a "
                            "Join's is how long the rank stayed.")
                      .Register(*registry)),
        request_bytes(prometheus::BuildCounter()
                          .Name("batchnormd_request_bytes_total")
                          .Help("Bytes of requests.")
                          .Register(*registry)),
        reply_bytes(prometheus::BuildCounter()
                        .Name("batchnormd_reply_bytes_total")
                        .Help("Bytes of replies that were OK.")
                        .Register(*registry)),
        levels(std::make_shared<LevelsCollector>(version, std::move(look))),
        exposer(std::move(bound)) {
    exposer->RegisterCollectable(registry);
    exposer->RegisterCollectable(levels);
  }

  const std::string address;
  const std::shared_ptr<prometheus::Registry> registry =
      std::make_shared<prometheus::Registry>();
  Family<Counter>& calls;
  Family<Histogram>& durations;
  Family<Counter>& request_bytes;
  Family<Counter>& reply_bytes;
  const std::shared_ptr<LevelsCollector> levels;
  // Last: its threads use the others.
  const std::unique_ptr<prometheus::Exposer> exposer;
};

absl::StatusOr<std::unique_ptr<Metrics>> Metrics::Start(
    const std::string& address, const std::string& version,
    std::function<Levels()> look) {
  auto exposer = Listen(address);
  if (!exposer.ok()) return exposer.status();
  const std::vector<int> ports = (*exposer)->GetListeningPorts();
  const std::string host = address.substr(0, address.rfind(':'));
  return std::unique_ptr<Metrics>(new Metrics(std::make_unique<State>(
      *std::move(exposer), absl::StrCat(host, ":", ports.front()), version,
      std::move(look))));
}

Metrics::Metrics(std::unique_ptr<State> state) : state_(std::move(state)) {}

Metrics::~Metrics() = default;

const std::string& Metrics::address() const { return state_->address; }

void Metrics::Count(const CallRecord& call) {
  const std::string method(call.method);
  const prometheus::Labels labels = {{"method", method}};
  state_->calls.Add({{"method", method}, {"code", std::string(call.code)}})
      .Increment();
  state_->durations.Add(labels, kSeconds)
      .Observe(absl::ToDoubleSeconds(call.duration));
  state_->request_bytes.Add(labels).Increment(
      static_cast<double>(call.request_bytes));
  state_->reply_bytes.Add(labels).Increment(
      static_cast<double>(call.reply_bytes));
}

}  // namespace batchnorm::admin
