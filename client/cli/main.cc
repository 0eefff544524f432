#include "client/cli/command_line.h"

int main(int argc, char** argv) {
  return batchnorm::cli::RunCommandLine(argc, argv);
}
