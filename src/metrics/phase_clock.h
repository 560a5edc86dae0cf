// Where the wall time of a step goes, as the calling thread reports it (core/activity.h): each instant belongs to the
// phase that was entered last.
#pragma once

#include "core/activity.h"
#include "metrics/step_stats.h"

namespace pixelbert::metrics {

class PhaseClock {
 public:
  // Fills `seconds` and `phase_seconds`, which add up exactly, with the step so far.
  void fill(StepStats& stats) const;

  // As fill(), and the next step starts at this instant, in Phase::Other.
  void finish(StepStats& stats);

 private:
  activity::Spent before_ = activity::spent();  // this step
};

}  // namespace pixelbert::metrics
