// Turns NCCL statuses into Error.
#pragma once

#include <nccl.h>

#include <source_location>

#include "core/check.h"

namespace pixelbert::cuda {

// ncclInProgress is no error: calls on a non-blocking communicator return it, and the outcome is checked later.
inline void check_nccl(ncclResult_t status, ncclComm_t comm,
                       std::source_location at = std::source_location::current()) {
  if (status == ncclSuccess || status == ncclInProgress) return;
  fail(fmt::format("NCCL: {}: {}", ncclGetErrorString(status), ncclGetLastError(comm)), at);
}

}  // namespace pixelbert::cuda
