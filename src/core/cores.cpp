#include "core/cores.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>

namespace pixelbert {

std::vector<int> own_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

int compute_threads(int ranks_on_host) {
  const char* given = std::getenv("OMP_NUM_THREADS");
  return std::max(1, given ? std::atoi(given) : static_cast<int>(own_cores().size()) / ranks_on_host);
}

}  // namespace pixelbert
