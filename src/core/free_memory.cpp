#include "core/free_memory.h"

// Of gperftools; absent in builds with sanitizers, which bring their own malloc.
extern "C" __attribute__((weak)) void MallocExtension_ReleaseFreeMemory();

namespace pixelbert {

void release_free_memory() {
  if (MallocExtension_ReleaseFreeMemory) MallocExtension_ReleaseFreeMemory();
}

}  // namespace pixelbert
