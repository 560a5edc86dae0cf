// Waits for a GPU, for times measured on the host.
#pragma once

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

namespace pixelbert::model {

// Returns when a GPU has finished the work of its current stream; the CPU already has.
inline void wait_for_device(torch::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeStream(guard.getStream(device));
}

}  // namespace pixelbert::model
