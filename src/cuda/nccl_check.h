// NCCL statuses become Error.
#pragma once

#include <nccl.h>

#include <source_location>

#include "core/check.h"

namespace pixelbert::cuda {

// ncclInProgress passes: calls on a non-blocking communicator answer with it, and the outcome is asked for later.
inline void check_nccl(ncclResult_t status, ncclComm_t comm,
                       std::source_location at = std::source_location::current()) {
  if (status == ncclSuccess || status == ncclInProgress) return;
  fail(fmt::format("NCCL: {}: {}", ncclGetErrorString(status), ncclGetLastError(comm)), at);
}

}  // namespace pixelbert::cuda
