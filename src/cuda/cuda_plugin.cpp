#include "comm/device_plugin.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include "core/check.h"
#include "cuda/nccl_check.h"
#include "cuda/nccl_communicator.h"

namespace pixelbert::cuda {
namespace {

int device_count() {
  return c10::cuda::device_count();
}

comm::NcclVersions nccl_versions() {
  comm::NcclVersions versions{.header = NCCL_VERSION_CODE};
  check_nccl(ncclGetVersion(&versions.library), nullptr);
  return versions;
}

cudaDeviceProp properties_of(int device) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  return properties;
}

std::string name(int device) {
  return properties_of(device).name;
}

std::string describe() {
  int cuda = 0;
  C10_CUDA_CHECK(cudaRuntimeGetVersion(&cuda));
  const int nccl = nccl_versions().library;
  std::string text = fmt::format("{}.{}, NCCL {}.{}.{}, {} devices", cuda / 1000, cuda % 1000 / 10, nccl / 10000,
                                 nccl / 100 % 100, nccl % 100, device_count());
  for (int device = 0; device < device_count(); ++device) {
    const cudaDeviceProp properties = properties_of(device);
    text += fmt::format("{} {} ({} GiB)", device == 0 ? ":" : ",", properties.name, properties.totalGlobalMem >> 30);
  }
  return text;
}

std::string bus_id(int device) {
  char text[32] = "";
  C10_CUDA_CHECK(cudaDeviceGetPCIBusId(text, sizeof text, device));
  return text;
}

void set_device(int device) {
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
}

std::int64_t peak_bytes(int device) {
  c10::cuda::CUDACachingAllocator::CUDAAllocator& allocator = *c10::cuda::CUDACachingAllocator::get();
  if (!allocator.initialized()) return 0;  // no tensor has been on a GPU yet
  const auto stats = allocator.getDeviceStats(static_cast<c10::DeviceIndex>(device));
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

std::unique_ptr<comm::Communicator> make_communicator(comm::Communicator& control, const std::vector<int>& host_of_rank,
                                                      int device, std::chrono::seconds patience) {
  return std::make_unique<NcclCommunicator>(control, host_of_rank, device, patience);
}

constexpr comm::CudaPlugin kPlugin{device_count, describe,   nccl_versions, name,
                                   bus_id,       set_device, peak_bytes,    make_communicator};

}  // namespace
}  // namespace pixelbert::cuda

const pixelbert::comm::CudaPlugin* pixelbert_cuda_plugin() {
  return &pixelbert::cuda::kPlugin;
}
