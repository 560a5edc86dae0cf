// Counts what TreeReduction (comm/group_sum.h) sends, so that a plan can say how long it takes.
#pragma once

#include <cstdint>

#include "comm/sum_tree.h"

namespace pixelbert::comm {

// Bytes for each byte of the tensor, of the rank or host that moves most of them.
struct Traffic {
  double in_host = 0;         // that a rank gives to or takes from the others of its host
  double network = 0;         // through the link of a host, in one direction
  std::int64_t messages = 0;  // that a rank sends to other hosts
};

// Of TreeReduction::reduce_scatter(), if each run of `ranks_per_host` ranks shares a host. The number of ranks must be
// a multiple of it.
Traffic reduce_scatter_traffic(const SumTree& tree, int ranks_per_host);

// Of TreeReduction::all_gather().
Traffic all_gather_traffic(int ranks, int ranks_per_host);

}  // namespace pixelbert::comm
