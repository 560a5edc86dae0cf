// The device and the communicator of this rank, chosen together: one rank alone needs none, CPU tensors travel over
// MPI, CUDA tensors over NCCL through the plug-in libpixelbert_cuda.so (comm/device_plugin.h).
#pragma once

#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/device_plugin.h"
#include "comm/mpi_communicator.h"
#include "comm/mpi_session.h"
#include "core/option.h"

namespace pixelbert::comm {

enum class Device { Auto, Cpu, Cuda };
constexpr auto names(Device) {
  return std::to_array<std::string_view>({"auto", "cpu", "cuda"});
}

// Collective, and before any other use of LibTorch's CUDA side, which looks for its libraries only once. This rank's
// GPU is that of its local rank, modulo the GPUs that it sees: Slurm may show each rank only its own. NCCL refuses two
// ranks on one GPU. Auto takes the CPU and says why in one line if no rank has a GPU, or a host has more ranks than
// GPUs. Then Cuda throws SharedError on every rank, and so does Auto if only some ranks have a GPU. Cpu never looks.
torch::Device choose_device(Device wanted, const MpiSession& session, Communicator& control);

// Carries the small messages between ranks (counts, stop requests, the NCCL id): CPU tensors, also in a GPU job. A rank
// that waits for longer than `patience` for another one treats it as lost. Collective.
std::unique_ptr<Communicator> make_control_communicator(
    const MpiSession& session, std::chrono::milliseconds patience = MpiCommunicator::kPatience);

// Carries gradients and weights of `device`. Collective.
std::unique_ptr<Communicator> make_device_communicator(torch::Device device, const MpiSession& session,
                                                       Communicator& control,
                                                       std::chrono::milliseconds patience = MpiCommunicator::kPatience);

// "NVIDIA H100 80GB HBM3"; "cpu" for the CPU.
std::string device_name(torch::Device device);

// The most memory that tensors have held on a GPU at once; 0 for the CPU.
std::int64_t peak_device_bytes(torch::Device device);

// Only after choose_device() has given a GPU.
NcclVersions nccl_versions();

// "13.0, NCCL 2.28.9, 2 devices: ..." or why there is none; for --version.
std::string cuda_version();

}  // namespace pixelbert::comm
