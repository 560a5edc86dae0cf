// The time at which the scheduler will end the job, and whether another step still fits.
//
// <run>/deadline holds one UNIX time in seconds. slurm/job.sh writes it and keeps it current, because a time limit may
// be changed while the job runs.
#pragma once

#include <filesystem>

#include "core/running_clock.h"

namespace pixelbert::train {

class Deadline {
 public:
  // The file may be absent and appear later. A deadline already past belongs to an earlier allocation and is ignored.
  explicit Deadline(std::filesystem::path file);

  // Call once per step. Returns true if the time left is less than two steps (as long as the longest recent one), two
  // saves (as long as the longest so far; a minute together if unknown) and 5 s. Logs it once.
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
