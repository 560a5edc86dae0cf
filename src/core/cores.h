// The cores of this process, and how many threads it computes with.
#pragma once

#include <vector>

namespace pixelbert {

std::vector<int> own_cores();  // that it may run on, ascending

// OMP_NUM_THREADS, which LibTorch follows by itself and the launch scripts set; otherwise a share of the cores.
int compute_threads(int ranks_on_host);

}  // namespace pixelbert
