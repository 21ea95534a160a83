# Warnings, sanitizers and the compiler cache, for every target.
find_program(CCACHE ccache)
if(CCACHE)
  # The cache looks through precompiled headers when it is told so, and tells them apart by the sums
  # below: the files themselves hold paths.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
    CCACHE_PCH_EXTSUM=1 ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(onnuri_options INTERFACE)
target_include_directories(onnuri_options INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR})
target_compile_options(onnuri_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  -Wno-sign-conversion -fno-math-errno)
# GCC 12 sees overlaps and huge copies in string concatenation that are not there (GCC bugs 105329,
# 105651).
target_compile_options(onnuri_options INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds>)
if(ONNURI_WERROR)
  target_compile_options(onnuri_options INTERFACE -Werror)
endif()
if(ONNURI_SANITIZE)
  target_compile_options(onnuri_options INTERFACE -fsanitize=${ONNURI_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(onnuri_options INTERFACE -fsanitize=${ONNURI_SANITIZE})
endif()
find_package(Threads REQUIRED)
target_link_libraries(onnuri_options INTERFACE Threads::Threads)

# Most of the time to compile a file goes into standard headers: they are parsed once. Files with
# flags of their own (instruction sets, emulation) do without.
if(ONNURI_PCH)
  add_library(onnuri_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
  target_link_libraries(onnuri_pch PRIVATE onnuri_options)
  set_target_properties(onnuri_pch PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(onnuri_pch PRIVATE -fPIC $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  target_precompile_headers(onnuri_pch PRIVATE <algorithm> <array> <atomic> <chrono> <cmath>
    <condition_variable> <cstddef> <cstdint> <cstdio> <cstring> <filesystem> <functional> <limits>
    <map> <memory> <mutex> <numeric> <optional> <span> <sstream> <string> <string_view> <thread>
    <unordered_map> <unordered_set> <utility> <variant> <vector>)
endif()

# What makes one set of precompiled headers differ from another.
function(onnuri_pch_sum target)
  get_target_property(headers ${target} PRECOMPILE_HEADERS)
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.dir/cmake_pch.hxx.gch.sum
    "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE} ${headers}\n")
endfunction()

# onnuri_use_pch(TARGET [OBJECTS_WITH_PCH]). All users share one kind of code, so that the headers fit
# libraries and programs alike.
function(onnuri_use_pch target)
  if(ONNURI_PCH)
    set(pch onnuri_pch ${ARGN})
    list(GET pch -1 pch)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC
      $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    target_precompile_headers(${target} REUSE_FROM ${pch})
  endif()
endfunction()
if(ONNURI_PCH)
  onnuri_pch_sum(onnuri_pch)
endif()
