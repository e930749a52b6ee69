# troupe_schemas(name files.capnp ...): compiles schemas of the current folder into a static library. Include them by
# their path in the repository: "schemas/client.capnp.h".
pkg_check_modules(capnp REQUIRED IMPORTED_TARGET capnp)
find_program(CAPNP capnp REQUIRED)

function(troupe_schemas name)
  file(RELATIVE_PATH folder ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set(out ${CMAKE_BINARY_DIR}/generated)
  set(sources)
  foreach(schema IN LISTS ARGN)
    set(generated ${out}/${folder}/${schema}.c++ ${out}/${folder}/${schema}.h)
    list(APPEND sources ${generated})
  endforeach()
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE inputs)
  add_custom_command(OUTPUT ${sources}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
    COMMAND ${CAPNP} compile -oc++:${out} --src-prefix=${CMAKE_SOURCE_DIR} -I${CMAKE_SOURCE_DIR} ${inputs}
    DEPENDS ${inputs} VERBATIM)
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} SYSTEM PUBLIC ${out}) # generated code keeps its own style
  target_link_libraries(${name} PUBLIC PkgConfig::capnp)
endfunction()
