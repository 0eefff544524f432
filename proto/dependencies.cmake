# What generates and links the contract: see libraries.cmake, and
# BN_PROTOC, BN_GRPC_CPP_PLUGIN (programs).
include(${CMAKE_CURRENT_LIST_DIR}/libraries.cmake)
if(NOT BN_GRPC_REFLECTION)
  message(FATAL_ERROR "expected the library grpc++_reflection, found none")
endif()
find_program(BN_PROTOC protoc REQUIRED)
find_program(BN_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
find_program(BN_GRPC_PYTHON_PLUGIN grpc_python_plugin)
