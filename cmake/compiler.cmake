# Chooses the compiler before project() does, unless the user named one.
#
# GCC 12 (Debian 12's default) destroys temporaries of co_await expressions twice in places
# (GCC bugs 99576, 101367, 105287); Clang 16 and later are right, so they come first.
# Under pip, scikit-build-core sets CXX to what Python was built with; there a user names one by
# CMAKE_ARGS=-DCMAKE_CXX_COMPILER=...
if(NOT DEFINED CMAKE_CXX_COMPILER AND (NOT DEFINED ENV{CXX} OR SKBUILD))
  find_program(PX_CLANG NAMES clang++-19 clang++-18 clang++-17 clang++-16 clang++)
  if(PX_CLANG)
    set(CMAKE_CXX_COMPILER ${PX_CLANG})
  endif()
endif()
