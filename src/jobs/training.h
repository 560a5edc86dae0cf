// A training, from its options to a finished or stopped run.
#pragma once

#include "comm/mpi_session.h"
#include "config/command_line.h"
#include "jobs/training_job.h"

namespace pixelbert::jobs {

// Collective. The whole command: reads the options with `read`, and the checkpoint that they name; then trains. Returns
// the exit code: 0, or 75 if the training was stopped on request.
int run_training(const config::Arguments& arguments, config::CommandLine& line, ReadOptions& read,
                 const comm::MpiSession& session);

}  // namespace pixelbert::jobs
