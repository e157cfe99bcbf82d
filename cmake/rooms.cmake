# Flags and targets that every room shares. A room is one folder of src/, one static library.

add_library(px_flags INTERFACE)
target_include_directories(px_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
# -fPIC for programs too: one precompiled header serves libraries, programs and the module.
target_compile_options(px_flags INTERFACE -fPIC -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                                          -Wold-style-cast -Wunused)
# Not for who installs by pip: another compiler's new warning is no reason to fail there.
if(NOT SKBUILD)
  target_compile_options(px_flags INTERFACE -Werror)
endif()
# One library compiles Asio and Beast; everyone else sees declarations (support/boost_impl.cpp).
target_compile_definitions(px_flags INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED BOOST_JSON_NO_LIB
  FMT_DEPRECATED_OSTREAM PX_VERSION="${PROJECT_VERSION}")
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(px_flags INTERFACE -Xclang -fno-pch-timestamp)
endif()
if(PX_SANITIZE)
  target_compile_options(px_flags INTERFACE -fsanitize=${PX_SANITIZE} -fno-omit-frame-pointer
                                            -fno-sanitize-recover=all)
  # Checks that cost a fifth of the compiler's time and find what AddressSanitizer finds, too, or
  # what is no fault on x86.
  target_compile_options(px_flags INTERFACE -fno-sanitize=null,alignment,vptr,object-size)
  target_link_options(px_flags INTERFACE -fsanitize=${PX_SANITIZE})
  # An empty optional or a place beyond a container's end is nothing that a sanitizer sees.
  target_compile_definitions(px_flags INTERFACE _GLIBCXX_ASSERTIONS)
endif()

# px_room(NAME LINK libs...): library px_NAME of all .cpp and .S files in src/NAME, with the shared
# precompiled header.
function(px_room name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp
       ${PROJECT_SOURCE_DIR}/src/${name}/*.S)
  add_library(px_${name} STATIC ${sources})
  target_link_libraries(px_${name} PUBLIC px_flags ${ARG_LINK})
  px_precompile(px_${name})
endfunction()

# The first target that asks compiles the header, the others use its result.
function(px_precompile target)
  if(TARGET px_support AND NOT target STREQUAL "px_support")
    target_precompile_headers(${target} REUSE_FROM px_support)
  else()
    target_precompile_headers(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src/support/precompiled.hpp)
  endif()
endfunction()
