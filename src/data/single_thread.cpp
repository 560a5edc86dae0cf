#include "data/single_thread.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

namespace pixelbert::data {

void use_single_thread() {
  at::get_num_threads();  // LibTorch sets up a thread at its first operator, and would undo the next lines then
  // OpenMP keeps the number per thread. The function is looked up because the runtime came with LibTorch: linking
  // OpenMP here could bring a second one, with settings of its own.
  if (const auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"))) set(1);
}

}  // namespace pixelbert::data
