// Normalizes four values by the server at argv[1]: prints -1 1 -1 1.
#include <cstdio>
#include <vector>

#include "client/client.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const batchnorm::client::Client client({.target = argv[1]});
  const auto result = client.Evaluate(
      {.normalization = {.eps = 0},
       .x = batchnorm::MakeTensor(std::vector<double>{1, 3, 1, 3}, {4, 1})});
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
    return 1;
  }
  for (const double y : batchnorm::ToDoubles(*result->y)) {
    std::printf("%g ", y);
  }
  std::printf("\n");
  return 0;
}
