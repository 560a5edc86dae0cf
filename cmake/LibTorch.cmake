# LibTorch as imported targets torch::cpu and torch::cuda.
#
# find_package(Torch) is not used: on the PyPI wheel it asks for a CUDA toolkit even for a CPU program, and links
# libtorch_cuda into everything.
set(PIXELBERT_TORCH_DIR "" CACHE PATH "a LibTorch folder (with include/ and lib/); empty: the wheel in .deps/venv")

set(torch_dir ${PIXELBERT_TORCH_DIR})
if(NOT torch_dir)
  file(GLOB torch_dir ${PROJECT_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
endif()
if(NOT EXISTS "${torch_dir}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "no LibTorch: expected lib/libtorch_cpu.so in '${torch_dir}'. "
    "Run launch/setup.sh, or set PIXELBERT_TORCH_DIR to a LibTorch folder.")
endif()

add_library(torch_c10 SHARED IMPORTED)
set_target_properties(torch_c10 PROPERTIES IMPORTED_LOCATION ${torch_dir}/lib/libc10.so)

add_library(torch::cpu SHARED IMPORTED)
set_target_properties(torch::cpu PROPERTIES IMPORTED_LOCATION ${torch_dir}/lib/libtorch_cpu.so)
target_include_directories(torch::cpu SYSTEM INTERFACE
  ${torch_dir}/include ${torch_dir}/include/torch/csrc/api/include)
# libtorch_cpu.so finds its own dependencies through its RPATH, which the linker does not follow.
target_link_options(torch::cpu INTERFACE -Wl,--allow-shlib-undefined)

# The OpenMP library that LibTorch brings, by whatever name: a second one would have settings of its own.
# GCC's calls are also in those of Intel and LLVM.
file(GLOB torch_openmp ${torch_dir}/lib/libgomp*.so* ${torch_dir}/lib/libiomp5*.so* ${torch_dir}/lib/libomp*.so*)
if(NOT torch_openmp)
  set(torch_openmp gomp)  # the system's, which such a LibTorch uses as well
endif()
target_link_libraries(torch::cpu INTERFACE torch_c10 ${torch_openmp})

if(EXISTS ${torch_dir}/lib/libtorch_cuda.so)
  add_library(torch::cuda INTERFACE IMPORTED)
  target_link_libraries(torch::cuda INTERFACE torch::cpu
    -Wl,--no-as-needed ${torch_dir}/lib/libtorch_cuda.so ${torch_dir}/lib/libc10_cuda.so -Wl,--as-needed)
endif()
