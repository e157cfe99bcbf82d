# The program that serves us in Windows guests, compiled for Windows and kept inside px_guest. Without
# the compiler everything else is built, and a configuration that asks for a Windows guest is refused.
find_program(PX_WINDOWS_CC x86_64-w64-mingw32-gcc)
if(NOT PX_WINDOWS_CC)
  message(STATUS "No x86_64-w64-mingw32-gcc (gcc-mingw-w64-x86-64-win32): this build can drive no Windows guests")
  return()
endif()

set(helper_source ${PROJECT_SOURCE_DIR}/src/guest/windows/helper)
file(GLOB helper_parts CONFIGURE_DEPENDS ${helper_source}/*.c)
set(helper_program ${PROJECT_BINARY_DIR}/windows-helper.exe)
# No time stamp: the program's hash is part of its name in the guest.
add_custom_command(
  OUTPUT ${helper_program}
  COMMAND ${PX_WINDOWS_CC} -std=gnu11 -municode -Os -s -Wall -Wextra -Wl,--no-insert-timestamp
          -o ${helper_program} ${helper_parts} -ladvapi32
  DEPENDS ${helper_parts} ${helper_source}/helper.h
  VERBATIM)
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/guest/windows/helper.cpp PROPERTIES
  COMPILE_DEFINITIONS "PX_WINDOWS_HELPER=\"${helper_program}\""
  OBJECT_DEPENDS ${helper_program}
  SKIP_UNITY_BUILD_INCLUSION ON)
