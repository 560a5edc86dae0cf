// Interface of the CUDA and NCCL plug-in: libpixelbert_cuda.so exports one C function that returns this table. It is
// loaded at run time, so that a CPU job needs no CUDA libraries and no memory for them (about 350 MB per rank).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace pixelbert::comm {

// Versions as in NCCL_VERSION_CODE: 22809 is 2.28.9.
struct NcclVersions {
  int header = 0;   // the plug-in was built with it
  int library = 0;  // found at run time
};

struct CudaPlugin {
  int (*device_count)();
  std::string (*describe)();  // "13.0, NCCL 2.28.9, 2 devices: NVIDIA H100 80GB HBM3 (79 GiB), ..."
  NcclVersions (*nccl_versions)();
  std::string (*name)(int device);    // "NVIDIA H100 80GB HBM3"
  std::string (*bus_id)(int device);  // "0000:1b:00.0": the same GPU has the same one in every process of a host
  void (*set_device)(int device);
  std::int64_t (*peak_bytes)(int device);  // the most memory that tensors have used at once
  // Collective; `control` carries the NCCL id. `host_of_rank`: see MpiSession. A rank that waits for longer than
  // `patience` for another one treats it as lost.
  std::unique_ptr<Communicator> (*make_communicator)(Communicator& control, const std::vector<int>& host_of_rank,
                                                     int device, std::chrono::seconds patience);
};

}  // namespace pixelbert::comm

extern "C" const pixelbert::comm::CudaPlugin* pixelbert_cuda_plugin();
