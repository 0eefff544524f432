# What `cmake --install` puts where, and the packages that `cpack -G DEB` makes:
# server, tools (bn) and dev (the C++ library), each a component of its own.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(BN_HEADERS ${CMAKE_INSTALL_INCLUDEDIR}/batchnormd)
set(BN_CMAKE ${CMAKE_INSTALL_LIBDIR}/cmake/batchnormd)

# ---- server
install(TARGETS batchnormd RUNTIME COMPONENT server)
set(BN_ETC ${CMAKE_INSTALL_SYSCONFDIR})
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(BN_ETC /etc)
endif()
configure_file(deploy/systemd/batchnormd.service.in
               ${CMAKE_BINARY_DIR}/batchnormd.service @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/batchnormd.service
        DESTINATION lib/systemd/system COMPONENT server)
install(FILES deploy/batchnormd.toml DESTINATION ${BN_ETC}/batchnormd
        COMPONENT server)

# ---- tools
install(TARGETS bn RUNTIME COMPONENT tools)
install(FILES tests/data/digits.csv.gz tests/data/README.md
        DESTINATION ${CMAKE_INSTALL_DATADIR}/batchnormd COMPONENT tools)  # bn demo

# ---- both: completions; man pages, said by the programs themselves
find_program(BN_HELP2MAN help2man)
function(bn_document program component name)
  configure_file(deploy/completions/bash.in
                 ${CMAKE_BINARY_DIR}/completions/${program} @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/completions/${program}
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
          COMPONENT ${component})
  if(NOT BN_HELP2MAN)
    return()
  endif()
  set(page ${CMAKE_BINARY_DIR}/man/${program}.1)
  add_custom_command(
    OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
    COMMAND ${BN_HELP2MAN} --no-info --name=${name} --output=${page}
            $<TARGET_FILE:${program}>
    DEPENDS ${program}
    VERBATIM)
  add_custom_target(${program}_man ALL DEPENDS ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
          COMPONENT ${component} OPTIONAL)
endfunction()
bn_document(batchnormd server "batch normalization over gRPC: the server")
bn_document(bn tools "batch normalization over gRPC: the client")

# ---- dev: find_package(batchnormd) gives batchnorm::client
set(BN_LIBRARIES batchnorm_client batchnorm_wire batchnorm_proto batchnorm_kernel)
foreach(library IN LISTS BN_LIBRARIES)
  string(REPLACE "batchnorm_" "" name ${library})
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(${library} INTERFACE
                             $<INSTALL_INTERFACE:${BN_HEADERS}>)
endforeach()
install(TARGETS ${BN_LIBRARIES} EXPORT batchnormd-targets
        ARCHIVE COMPONENT dev)
install(EXPORT batchnormd-targets NAMESPACE batchnorm::
        DESTINATION ${BN_CMAKE} COMPONENT dev)
install(FILES client/client.h client/connection.h client/credentials.h
              client/error.h client/layer.h client/make_connection.h
              client/mock_connection.h client/presence.h client/presets.h
              client/retry_policy.h client/sync_layer.h client/types.h
        DESTINATION ${BN_HEADERS}/client COMPONENT dev)
install(FILES proto/wire/tensor.h proto/wire/tensor_values.h
        DESTINATION ${BN_HEADERS}/proto/wire COMPONENT dev)
install(DIRECTORY ${CMAKE_BINARY_DIR}/proto/generated/
        DESTINATION ${BN_HEADERS} COMPONENT dev
        FILES_MATCHING PATTERN "*.h")
install(DIRECTORY proto/batchnorm
        DESTINATION ${CMAKE_INSTALL_DATADIR}/batchnormd/proto COMPONENT dev
        FILES_MATCHING PATTERN "*.proto")
install(FILES proto/libraries.cmake DESTINATION ${BN_CMAKE} COMPONENT dev)
configure_package_config_file(
  deploy/batchnormd-config.cmake.in ${CMAKE_BINARY_DIR}/batchnormd-config.cmake
  INSTALL_DESTINATION ${BN_CMAKE})
write_basic_package_version_file(
  ${CMAKE_BINARY_DIR}/batchnormd-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/batchnormd-config.cmake
              ${CMAKE_BINARY_DIR}/batchnormd-config-version.cmake
        DESTINATION ${BN_CMAKE} COMPONENT dev)
configure_file(deploy/batchnormd-client.pc.in
               ${CMAKE_BINARY_DIR}/batchnormd-client.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/batchnormd-client.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

# ---- packages
set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL server tools dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "batchnormd developers <batchnormd@localhost>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_SERVER_PACKAGE_NAME batchnormd)
set(CPACK_DEBIAN_SERVER_DESCRIPTION "batch normalization over gRPC: the server")
set(CPACK_DEBIAN_SERVER_PACKAGE_SUGGESTS batchnormd-tools)
set(CPACK_DEBIAN_SERVER_PACKAGE_CONTROL_EXTRA
    ${CMAKE_SOURCE_DIR}/deploy/debian/conffiles
    ${CMAKE_SOURCE_DIR}/deploy/debian/postinst
    ${CMAKE_SOURCE_DIR}/deploy/debian/prerm
    ${CMAKE_SOURCE_DIR}/deploy/debian/postrm)
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME batchnormd-tools)
set(CPACK_DEBIAN_TOOLS_DESCRIPTION "batch normalization over gRPC: the client bn")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libbatchnorm-client-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_DESCRIPTION
    "batch normalization over gRPC: the C++ client library")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
    "libgrpc++-dev, libprotobuf-dev, libabsl-dev, libhwy-dev, pkgconf | pkg-config")
include(CPack)
