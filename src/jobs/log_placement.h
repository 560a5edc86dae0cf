// Logs where the ranks of a job run: most slow jobs have ranks on the wrong cores or the wrong network.
#pragma once

#include "comm/communicator.h"
#include "comm/mpi_session.h"

namespace pixelbert::jobs {

// Collective. Rank 0 logs one line per host: its ranks, their cores, compute threads and device.
void log_placement(torch::Device device, const comm::MpiSession& session, comm::Communicator& control);

}  // namespace pixelbert::jobs
