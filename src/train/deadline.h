// When the scheduler will end the job, and whether there is still time for another step.
//
// <run>/deadline holds one UNIX time in seconds. slurm/job.sh writes it and keeps it current, because a time limit may
// be changed while the job runs.
#pragma once

#include <filesystem>

#include "core/running_clock.h"

namespace pixelbert::train {

class Deadline {
 public:
  // The file may be absent, and may appear later. One that has passed by now was an earlier allocation's.
  explicit Deadline(std::filesystem::path file);

  // Called once a step. Whether a step as long as the longest of the last ones and a save that takes twice the
  // longest known (a minute when none is known) would end after the deadline. Says so once.
  bool reached(double save_seconds);

 private:
  using Clock = RunningClock;  // a step in which the job was suspended is not a long one

  std::filesystem::path file_;
  double start_;
  Clock::time_point last_call_ = Clock::now();
  double step_seconds_ = 0;  // decays, so that one slow step is forgotten
  bool said_ = false;
};

}  // namespace pixelbert::train
