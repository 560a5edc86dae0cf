// A training, from its options to a finished or stopped run.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/mpi_session.h"
#include "config/command_line.h"
#include "jobs/training_job.h"
#include "watch/watchdog.h"

namespace pixelbert::jobs {

// Collective. Opens the data, builds the parts, resumes or starts, and runs the loop. Returns the exit code: 0, or 75
// if the training was stopped on request.
int train(TrainingJob job, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control,
          watch::Watchdog& watchdog);

// Collective. The whole command: reads the options with `read`, and the checkpoint that they name; then trains.
int run_training(const config::Arguments& arguments, config::CommandLine& line, ReadOptions& read,
                 const comm::MpiSession& session);

}  // namespace pixelbert::jobs
