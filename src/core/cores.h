// The cores of this process and the number of its compute threads.
#pragma once

#include <vector>

namespace pixelbert {

std::vector<int> own_cores();  // the cores it may run on, ascending

// Returns OMP_NUM_THREADS, which LibTorch also reads and the launch scripts set; without it a share of the cores.
int compute_threads(int ranks_on_host);

}  // namespace pixelbert
