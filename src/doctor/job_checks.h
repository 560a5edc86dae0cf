// What ranks find out together. Each is collective over all ranks, and none throws on one rank alone.
#pragma once

#include <torch/types.h>

#include "comm/communicator.h"
#include "doctor/finding.h"

namespace pixelbert::doctor {

// Whether ranks of a host can read each other's memory, which spares MPI one of two copies. `same_host`: of each rank.
Finding check_single_copy(comm::Communicator& control, const std::vector<bool>& same_host);

// Clocks against rank 0's.
Finding check_clock(comm::Communicator& control);

// The rate at which gradients are summed, against memory's within a host and the network's between hosts.
Finding check_all_reduce(comm::Communicator& tensors, torch::Device device, bool one_host);

}  // namespace pixelbert::doctor
