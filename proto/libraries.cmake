# gRPC and protobuf: from their CMake packages where there are any, else from
# pkg-config. Gives BN_PROTOBUF, BN_GRPC, BN_GRPC_REFLECTION. Also installed, for
# those who link batchnorm::client.
find_package(Protobuf CONFIG QUIET)
if(NOT Protobuf_FOUND)
  find_package(Protobuf REQUIRED)
endif()
find_package(gRPC CONFIG QUIET)
if(gRPC_FOUND)
  set(BN_GRPC gRPC::grpc++)
  set(BN_GRPC_REFLECTION gRPC::grpc++_reflection)
else()
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++)
  find_library(BN_GRPC_REFLECTION grpc++_reflection)
  set(BN_GRPC PkgConfig::GRPCPP)
endif()
find_package(absl REQUIRED)
set(BN_PROTOBUF protobuf::libprotobuf)
