// How fast a machine trains: measured by an earlier run, or assumed.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "plan/activations.h"
#include "plan/workload.h"

namespace pixelbert::plan {

struct Calibration {
  double flops_per_second = 0;     // of a rank, in forward and backward
  double backward_share = 0;       // of the time of both
  double updates_per_second = 0;   // weights that a rank updates
  double exchange_per_second = 0;  // bytes that a rank can give and take in a sum, if no network limits it
  double waiting_share = 0;        // of forward and backward: what ranks waited for each other besides
  double saved_per_second = 0;     // bytes of a checkpoint
  double images_per_second = 0;    // of a rank's loader; 0: the step never waited for it
  // How far the last backward of a step has come when this part of the gradients is ready: (part of their bytes, in the
  // order in which they are reduced; part of the backward's time), ascending. Empty: not measured.
  std::vector<std::pair<double, double>> ready = {};
  std::string origin = {};  // to print
};

// Measures the steps after `since` in a run folder's metrics.jsonl, which rank 0 of `ranks` has written, without the
// first of them. Throws Error naming the file when it has too few.
Calibration measure(const std::filesystem::path& run, std::int64_t since, const RunWork& work, int ranks);

// Without a measurement; `cores` is the number per rank, `loader_threads` those that decode images.
Calibration assumed(const Compute& compute, std::int64_t cores, std::int64_t loader_threads);

// A calibration as a file, for machines that do not have the run.
Calibration read_calibration(const std::filesystem::path& path);
void write_calibration(const std::filesystem::path& path, const Calibration& calibration);

}  // namespace pixelbert::plan
