// How fast a machine trains: measured by an earlier run, or assumed.
#pragma once

#include <filesystem>
#include <string>

#include "plan/activations.h"

namespace pixelbert::plan {

struct Calibration {
  double flops_per_second = 0;    // of a rank, over forward, backward and waiting for data
  double weights_per_second = 0;  // summed over ranks and updated
  double bytes_per_second = 0;    // saved in a checkpoint
  std::string origin;             // to print
};

// The work of one step of the measured run on its busiest rank.
struct MeasuredWork {
  double flops = 0;
  double weights = 0;
  double checkpoint_bytes = 0;
};

// Measures the steps after `since` in a run folder's metrics.jsonl, without the first of them. Throws Error naming the
// file when it has too few.
Calibration measure(const std::filesystem::path& run, std::int64_t since, const MeasuredWork& work);

// Without a measurement; `cores` is the number per rank.
Calibration assumed(const Compute& compute, std::int64_t cores);

// A calibration as a file, for machines that do not have the run.
Calibration read_calibration(const std::filesystem::path& path);
void write_calibration(const std::filesystem::path& path, const Calibration& calibration);

}  // namespace pixelbert::plan
