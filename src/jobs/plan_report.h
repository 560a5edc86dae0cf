// What `pixelbert plan` answers.
#pragma once

#include <filesystem>
#include <iosfwd>

#include "core/problems.h"
#include "jobs/plan_request.h"
#include "jobs/planned_run.h"
#include "plan/memory.h"
#include "plan/replay.h"

namespace pixelbert::jobs {

// Of the disk with the run folder, in bytes.
struct Disk {
  std::filesystem::path folder;  // the run folder, or the one in which it would be made
  double free = 0;
  double needed = 0;  // until all checkpoints that are kept are there
};

struct Estimate {
  std::int64_t steps = 0, steps_done = 0;  // steps_done: by the run that will be resumed
  plan::Memory memory;                     // of the rank with the most work
  double checkpoint_bytes = 0;
  Disk disk{};
  plan::StepTime step;
  double saves = 0, save_seconds = 0, seconds = 0;  // seconds: of the steps that are left

  std::int64_t steps_left() const { return steps - steps_done; }
};

// Throws Error if the disk cannot be looked at.
Estimate estimate(const PlanRequest& request, const PlannedRun& run);

// Adds a problem if the checkpoints do not fit or the folder cannot be written to.
void find_problems(const Estimate& estimate, const TrainingConfig& config, Problems& problems);

void print_plan(std::ostream& out, const PlanRequest& request, const PlannedRun& run, const Estimate& estimate);

}  // namespace pixelbert::jobs
