# Compiler settings of our own targets: warnings as errors, ccache and mold where they are installed.
set(PIXELBERT_OPTIMISE -O2)
if(PIXELBERT_SANITIZER MATCHES fuzzer)
  set(PIXELBERT_OPTIMISE -O1)  # compiles in two thirds of the time
endif()
# Full debug information of LibTorch's headers doubles the objects.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "${PIXELBERT_OPTIMISE} -g1")

find_program(PIXELBERT_CCACHE ccache)
if(PIXELBERT_CCACHE)
  # It keeps objects made with a precompiled header only if it may trust that header's macros and time stamps.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${PIXELBERT_CCACHE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
  endif()
endif()
find_program(PIXELBERT_MOLD mold)
if(PIXELBERT_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# at::parallel_for is inline, and a loop on one thread where a file is compiled without OpenMP. Not with Clang, whose
# OpenMP library is another than LibTorch's, nor with the thread sanitizer, which does not see OpenMP's locks.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND NOT PIXELBERT_SANITIZER MATCHES thread)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
endif()

add_library(pixelbert_options INTERFACE)
target_compile_options(pixelbert_options INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL Clang AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 18)
  # Functions of LibTorch by the names that GCC, which compiled it, gives them: later Clangs mangle constraints.
  target_compile_options(pixelbert_options INTERFACE -fclang-abi-compat=17)
endif()
# Open MPI's old C++ headers stay out.
target_compile_definitions(pixelbert_options INTERFACE OMPI_SKIP_MPICXX)
if(PIXELBERT_SANITIZER)
  target_compile_options(pixelbert_options INTERFACE -fsanitize=${PIXELBERT_SANITIZER} -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # With sanitizers GCC warns of uninitialized values where there are none (according to its manual).
    target_compile_options(pixelbert_options INTERFACE -Wno-maybe-uninitialized)
  elseif(PIXELBERT_SANITIZER MATCHES "address")
    # The address sanitizer finds what these look for at every access, and they take 40 % of the time to compile.
    target_compile_options(pixelbert_options INTERFACE -fno-sanitize=null,object-size)
  endif()
  target_link_options(pixelbert_options INTERFACE -fsanitize=${PIXELBERT_SANITIZER})
endif()
target_include_directories(pixelbert_options INTERFACE ${PROJECT_SOURCE_DIR}/src)

# LibTorch brings headers of another fmt than spdlog's, which we link: ours come first.
find_path(fmt_include fmt/core.h REQUIRED)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/first)
file(CREATE_LINK ${fmt_include}/fmt ${CMAKE_BINARY_DIR}/first/fmt SYMBOLIC)
target_include_directories(pixelbert_options SYSTEM BEFORE INTERFACE ${CMAKE_BINARY_DIR}/first)

# LibTorch's headers take longer to read than most of our files to compile, so there is a precompiled header for the
# libraries and the program, and two for the tests (which are not optimised).
# Each file still includes what it uses: -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON builds without them.
set(PIXELBERT_PRECOMPILED <nlohmann/json.hpp> <spdlog/fmt/fmt.h> <torch/nn/module.h> <torch/types.h>)
