// Receives the numbers of each step.
#pragma once

#include "metrics/step_stats.h"

namespace pixelbert::metrics {

class Sink {
 public:
  virtual ~Sink() = default;
  virtual void record(const StepStats& stats) = 0;  // once per step, in order
};

}  // namespace pixelbert::metrics
