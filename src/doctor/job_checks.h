// Checks that ranks make together. All are collective, and none throws on one rank alone.
#pragma once

#include <torch/types.h>

#include "comm/communicator.h"
#include "doctor/finding.h"

namespace pixelbert::doctor {

// Whether ranks of a host can read each other's memory, which saves MPI one of two copies. `same_host` has an entry per
// rank.
Finding check_single_copy(comm::Communicator& control, const std::vector<bool>& same_host);

// Compares the clocks with rank 0's.
Finding check_clock(comm::Communicator& control);

// Compares the rate at which gradients are summed with that of the memory within a host, or of the network between
// hosts.
Finding check_all_reduce(comm::Communicator& tensors, torch::Device device, bool one_host);

}  // namespace pixelbert::doctor
