// The device and the communicator of this rank, chosen together: one rank alone needs none, CPU tensors travel over
// MPI, CUDA tensors over NCCL through the plug-in libpixelbert_cuda.so (comm/device_plugin.h).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/device_plugin.h"
#include "comm/mpi_session.h"
#include "core/option.h"

namespace pixelbert::comm {

enum class Device { Auto, Cpu, Cuda };
constexpr auto names(Device) {
  return std::to_array<std::string_view>({"auto", "cpu", "cuda"});
}

// Collective, and before any other use of LibTorch's CUDA side, which looks for its libraries only once. Auto takes
// CUDA when the plug-in, a driver and a GPU are there, otherwise says so in one line and takes the CPU; Cuda without
// them is an Error, and so is Auto when only some ranks have them; Cpu never looks. GPU local_rank goes to this
// rank, modulo the GPUs it sees: Slurm may show each rank only its own. NCCL refuses two ranks on one GPU.
torch::Device choose_device(Device wanted, const MpiSession& session);

// Carries the small messages between ranks (counts, stop requests, the NCCL id): CPU tensors, also in a GPU job.
// Collective.
std::unique_ptr<Communicator> make_control_communicator(const MpiSession& session);

// Carries gradients and weights of `device`. Collective.
std::unique_ptr<Communicator> make_device_communicator(torch::Device device, const MpiSession& session,
                                                       Communicator& control);

// The most memory that tensors have held on a GPU at once; 0 for the CPU.
std::int64_t peak_device_bytes(torch::Device device);

// Only after choose_device() has given a GPU.
NcclVersions nccl_versions();

// "13.0, NCCL 2.28.9, 2 devices: ..." or why there is none; for --version.
std::string cuda_version();

}  // namespace pixelbert::comm
