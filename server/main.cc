#include "server/program.h"

int main(int argc, char** argv) { return batchnorm::RunProgram(argc, argv); }
