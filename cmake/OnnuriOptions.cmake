# Warnings, sanitizers and the compiler cache, for every target.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
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
# GCC 12 sees overlaps in string concatenation that are not there (GCC bug 105651).
target_compile_options(onnuri_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
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
