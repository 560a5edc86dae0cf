// The device and the communicator of this rank, chosen together: one rank alone needs none, CPU tensors travel over
// MPI, CUDA tensors over NCCL through the plug-in libpixelbert_cuda.so.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/mpi_session.h"

namespace pixelbert::comm {

// "auto" takes CUDA when the plug-in and a driver are there, otherwise says so in one line and takes the CPU; "cuda"
// without them is an Error; "cpu" never looks. GPU local_rank (modulo the GPUs of the host) goes to this rank.
torch::Device choose_device(const std::string& wanted, const MpiSession& session);

// Carries the small messages between ranks (counts, stop requests, the NCCL id): CPU tensors, also in a GPU job.
std::unique_ptr<Communicator> make_control_communicator(const MpiSession& session);

// Carries gradients and weights of `device`. Collective.
std::unique_ptr<Communicator> make_device_communicator(torch::Device device, const MpiSession& session,
                                                       Communicator& control);

// "CUDA 13.0, NCCL 2.28.9, 2 devices: ..." or why there is none; for --version.
std::string cuda_version();

}  // namespace pixelbert::comm
