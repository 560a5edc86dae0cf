// Where the ranks of a job run, told at its start: most slow jobs are ranks on the wrong cores or the wrong network.
#pragma once

#include "comm/communicator.h"
#include "comm/mpi_session.h"

namespace pixelbert::jobs {

// Collective. Rank 0 logs one line per host: its ranks, their cores, compute threads and device.
void log_placement(torch::Device device, const comm::MpiSession& session, comm::Communicator& control);

}  // namespace pixelbert::jobs
