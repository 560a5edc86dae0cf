// Loads the CUDA plug-in into a program like ours and calls its table, also on a machine without a driver.
#include <dlfcn.h>

#include <iostream>

#include "comm/device_plugin.h"

int main(int, char** argv) {  // libtorch_cuda.so libpixelbert_cuda.so
  if (!dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL)) return std::cerr << dlerror() << "\n", 1;
  void* library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::cerr << dlerror() << "\n", 1;
  const auto table = reinterpret_cast<decltype(&pixelbert_cuda_plugin)>(dlsym(library, "pixelbert_cuda_plugin"));
  if (!table) return std::cerr << dlerror() << "\n", 1;
  std::cout << table()->device_count() << " GPUs";
  if (table()->device_count() > 0) std::cout << ": " << table()->describe();
  std::cout << "\n";
}
