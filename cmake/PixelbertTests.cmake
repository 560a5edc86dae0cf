# pb_unit_tests, pb_mpi_tests, pb_script_test: the three ways to register a test, so that labels, time limits and the
# environment of mpirun are written once.

# Tests look for the real images here; with CI=true a missing folder is a failure (tests/support/shared_data.h).
set(PIXELBERT_SHARED_DATA ${PROJECT_SOURCE_DIR}/../shared/data CACHE PATH "real data for tests")
file(GLOB PIXELBERT_PYTHON ${PROJECT_SOURCE_DIR}/.deps/venv/bin/python)

set(PIXELBERT_TEST_DEFINITIONS
  PIXELBERT_SHARED_DATA="${PIXELBERT_SHARED_DATA}" PIXELBERT_TEST_BINARY_DIR="${CMAKE_BINARY_DIR}")

function(pb_unit_tests folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${folder}_tests ${sources})
  target_include_directories(${folder}_tests PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${folder}_tests PRIVATE ${PIXELBERT_TEST_DEFINITIONS})
  target_link_libraries(${folder}_tests PRIVATE ${ARGN} GTest::gmock GTest::gtest_main)
  add_test(NAME ${folder} COMMAND ${folder}_tests --gtest_brief=1)
  set_tests_properties(${folder} PROPERTIES LABELS unit TIMEOUT 600 ENVIRONMENT "OMP_NUM_THREADS=1")
endfunction()

# Uses the precompiled header of the tests with LibTorch, which needs their definitions.
function(pb_reuse_test_header target)
  target_compile_definitions(${target} PRIVATE ${PIXELBERT_TEST_DEFINITIONS})
  target_link_libraries(${target} PRIVATE GTest::gmock)
  target_precompile_headers(${target} REUSE_FROM optim_tests)
endfunction()

# One program, run under mpirun once per number of ranks. A rank that fails an assertion aborts the job
# (tests/support/mpi_test_main.cpp), so that the others do not wait for it.
function(pb_mpi_tests name)
  cmake_parse_arguments(arg "" "" "RANKS;LIBS" ${ARGN})
  add_executable(${name} ${name}.cpp ${PROJECT_SOURCE_DIR}/tests/support/mpi_test_main.cpp)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE ${PIXELBERT_TEST_DEFINITIONS})
  target_link_libraries(${name} PRIVATE GTest::gmock GTest::gtest MPI::MPI_CXX ${arg_LIBS})
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}.np${ranks}
      COMMAND timeout -k 5 290 ${PROJECT_SOURCE_DIR}/launch/local.sh -n ${ranks} $<TARGET_FILE:${name}> --gtest_brief=1)
    set_tests_properties(${name}.np${ranks} PROPERTIES LABELS mpi PROCESSORS 2 TIMEOUT 300
      ENVIRONMENT "OMP_NUM_THREADS=1;PIXELBERT_TEST_RANKS=${ranks}")
  endforeach()
endfunction()

# A script (.py with the references' Python, or .sh) that ends with 0 on success. It finds the program in
# PIXELBERT, the Python in PYTHON, the real data in PIXELBERT_SHARED_DATA and the build in PIXELBERT_BUILD.
function(pb_script_test name label timeout)
  set(command ${ARGN})
  if("${ARGN}" MATCHES "\\.py")
    set(command ${PIXELBERT_PYTHON} ${ARGN})
  endif()
  add_test(NAME ${name} COMMAND ${command} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set(processors 2)
  if(label STREQUAL "parity")  # one process
    set(processors 1)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS ${label} PROCESSORS ${processors} TIMEOUT ${timeout}
    ENVIRONMENT "OMP_NUM_THREADS=1;PIXELBERT=$<TARGET_FILE:pixelbert>;PYTHON=${PIXELBERT_PYTHON};PIXELBERT_SHARED_DATA=${PIXELBERT_SHARED_DATA};PIXELBERT_BUILD=${CMAKE_BINARY_DIR}")
endfunction()
