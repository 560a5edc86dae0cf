// Measures the devices of all ranks at once, as they train. Collective, and none throws on one rank alone.
#pragma once

#include <torch/types.h>

#include <vector>

#include "comm/communicator.h"
#include "doctor/finding.h"

namespace pixelbert::doctor {

// What a rank's device does, in floating-point operations per second.
struct Peak {
  double float32 = 0;
  double bf16 = 0;
};

// Measures matrix products with this process's compute threads, for about a second.
std::vector<Peak> measure_peaks(comm::Communicator& control, torch::Device device);

// The findings of rank `rank`, given the peaks of all ranks: their range, a rank that is far slower than the others,
// and a bf16 that is slower than float32.
std::vector<Finding> check_peaks(const std::vector<Peak>& peaks, int rank);

// The rate at which pinned memory is copied to the GPU.
Finding check_copies(comm::Communicator& control, torch::Device device);

}  // namespace pixelbert::doctor
