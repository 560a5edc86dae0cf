// Turns MPI statuses into Error. MPI returns them only if the communicator's handler is MPI_ERRORS_RETURN, which
// MpiSession sets for the job and duplicates inherit.
#pragma once

#include <mpi.h>

#include <concepts>
#include <source_location>
#include <string>

#include "core/check.h"

namespace pixelbert::comm {

// Takes exactly an int, so that a bool cannot pose as a status.
void check_mpi(std::same_as<int> auto status, std::source_location at = std::source_location::current()) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  fail("MPI: " + std::string(text, static_cast<std::size_t>(length)), at);
}

}  // namespace pixelbert::comm
