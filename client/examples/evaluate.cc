// Evaluates one batch with its gradients; the server remembers nothing.
//
//     example_evaluate [localhost:50051]
#include <iostream>
#include <string>
#include <vector>

#include "client/client.h"

namespace {

using batchnorm::MakeTensor;
using batchnorm::ToDoubles;
using batchnorm::client::Client;

void Print(const char* name, const std::vector<double>& values) {
  std::cout << name << ':';
  for (const double value : values) std::cout << ' ' << value;
  std::cout << '\n';
}

absl::Status Evaluate(const std::string& address) {
  // [evaluate]
  Client client({.target = address});
  auto result = client.Evaluate(
      {.normalization = {.eps = 0},
       .x = MakeTensor(std::vector<float>{1, 10, 3, 30}, {2, 2}),
       .gamma = MakeTensor(std::vector<float>{2, 1}, {2}),
       .dy = MakeTensor(std::vector<float>{1, 0, 0, 0}, {2, 2})});
  if (!result.ok()) return result.status();
  Print("mean", result->statistics->mean);  // 2 20
  Print("var", result->statistics->var);    // 1 100
  Print("y", ToDoubles(*result->y));        // -2 -1 2 1
  Print("dgamma", *result->dgamma);         // -1 0
  // [END evaluate]
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Evaluate(argc > 1 ? argv[1] : "localhost:50051");
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? 0 : 1;
}
