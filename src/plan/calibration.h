// How fast a machine trains: measured by an earlier run, or assumed.
#pragma once

#include <filesystem>
#include <string>

#include "plan/activations.h"

namespace pixelbert::plan {

struct Calibration {
  double flops_per_second = 0;    // of a rank, forward and backward and the wait for data
  double weights_per_second = 0;  // summed over ranks and updated
  double bytes_per_second = 0;    // saved in a checkpoint
  std::string origin;             // for people
};

// What one step of the measured run took on its busiest rank.
struct MeasuredWork {
  double flops = 0;
  double weights = 0;
  double checkpoint_bytes = 0;
};

// From the steps behind `since` in a run folder's metrics.jsonl, without the first of them. Error naming the file when
// it has too few.
Calibration measure(const std::filesystem::path& run, std::int64_t since, const MeasuredWork& work);

// For want of a measurement; `cores` of a rank.
Calibration assumed(const Compute& compute, std::int64_t cores);

// As a file, for machines that do not have the run.
Calibration read_calibration(const std::filesystem::path& path);
void write_calibration(const std::filesystem::path& path, const Calibration& calibration);

}  // namespace pixelbert::plan
