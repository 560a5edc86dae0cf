#include "core/single_thread.h"

#include <dlfcn.h>

namespace pixelbert {

void use_single_thread() {
  // OpenMP keeps the number per thread. The function is looked up because the runtime came with LibTorch: linking
  // OpenMP here could bring a second one, with settings of its own.
  if (const auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"))) set(1);
}

}  // namespace pixelbert
