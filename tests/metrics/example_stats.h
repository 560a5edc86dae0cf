// A step with every number set.
#pragma once

#include "metrics/step_stats.h"

namespace pixelbert::metrics {

inline StepStats example_stats(std::int64_t step) {
  StepStats stats;
  stats.step = step;
  stats.epoch = step / 10;
  stats.samples = 64 * step;
  stats.step_samples = 64;
  stats.loss = 3.5 + 0.7;
  stats.term_loss = {{"mlm", 3.5}, {"itm", 0.7}};
  stats.term_accuracy = {{"mlm", 0.25}, {"itm", 0.5}};
  stats.learning_rate = {{"backbone", 1e-2}, {"transformer", 1e-4}};
  stats.gradient_norm = 12.5;
  stats.phase_seconds = {0.1, 0.2, 0.3, 0.05, 0.02, 0, 0.01};
  for (const double seconds : stats.phase_seconds) stats.seconds += seconds;
  stats.reduced_bytes = 1000;
  stats.queued_batches = 3;
  stats.flops = 6.8e9;
  stats.peak_flops_per_second = 4e10;
  return stats;
}

}  // namespace pixelbert::metrics
