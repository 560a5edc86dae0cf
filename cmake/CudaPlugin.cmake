# Finds what the CUDA + NCCL plug-in needs; sets PIXELBERT_BUILD_CUDA and the target nccl.
#
# NCCL and the CUDA runtime come from the wheels beside LibTorch when they are there: a second copy in the process
# (the toolkit's) would share the SONAME, and which one wins would depend on link order.
set(PIXELBERT_BUILD_CUDA OFF)
if(PIXELBERT_CUDA STREQUAL "OFF")
  return()
endif()

get_filename_component(wheels ${torch_dir}/../nvidia ABSOLUTE)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${wheels}/nccl/include)
find_library(NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${wheels}/nccl/lib)
find_path(CUDART_INCLUDE_DIR cuda_runtime_api.h HINTS ${wheels}/cu13/include /usr/local/cuda/include)
find_library(CUDART_LIBRARY NAMES libcudart.so.13 cudart HINTS ${wheels}/cu13/lib /usr/local/cuda/lib64)

if(TARGET torch::cuda AND NCCL_INCLUDE_DIR AND NCCL_LIBRARY AND CUDART_INCLUDE_DIR AND CUDART_LIBRARY)
  set(PIXELBERT_BUILD_CUDA ON)
  add_library(nccl INTERFACE)
  target_include_directories(nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR} ${CUDART_INCLUDE_DIR})
  target_link_libraries(nccl INTERFACE ${NCCL_LIBRARY} ${CUDART_LIBRARY})
elseif(PIXELBERT_CUDA STREQUAL "ON")
  message(FATAL_ERROR "PIXELBERT_CUDA=ON needs LibTorch with CUDA, NCCL and the CUDA runtime. Found: "
    "nccl.h in '${NCCL_INCLUDE_DIR}', '${NCCL_LIBRARY}', cuda_runtime_api.h in '${CUDART_INCLUDE_DIR}', "
    "'${CUDART_LIBRARY}'. launch/setup.sh --gpu installs them.")
endif()
message(STATUS "CUDA plug-in: ${PIXELBERT_BUILD_CUDA}")
