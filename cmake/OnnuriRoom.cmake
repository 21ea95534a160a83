# onnuri_room(NAME [DEPENDS rooms...]): one static library from every .cpp below the folder, linked
# only to the rooms that it may include. Folders with rules of their own are excluded by EXCLUDE.
function(onnuri_room name)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(pattern IN LISTS ROOM_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX ${pattern})
  endforeach()
  add_library(onnuri_${name} STATIC ${sources})
  target_link_libraries(onnuri_${name} PUBLIC onnuri_options ${ROOM_DEPENDS})
  onnuri_use_pch(onnuri_${name})
endfunction()

# onnuri_isa_sources(TARGET FOLDER flags...): adds a folder of kernels compiled for one instruction
# set. -O3 because these loops are what the project is about.
function(onnuri_isa_sources target folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp)
  if(sources)
    target_sources(${target} PRIVATE ${sources})
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "-O3;${ARGN}"
      SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()
