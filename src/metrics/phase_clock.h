// Where the wall time of a step goes, as the calling thread reports it (core/activity.h): each instant belongs to the
// phase that was entered last.
#pragma once

#include "core/activity.h"
#include "metrics/step_stats.h"

namespace pixelbert::metrics {

class PhaseClock {
 public:
  // Divides the time that this step has spent so far in forward, backward, reduce_wait, optimizer and checkpoint anew,
  // in the proportion of `on_device`: the host of a GPU runs ahead of it, and waits where its results are read. Once a
  // step. Returns the host's seconds for each of the device's.
  double divide_as(const PhaseSeconds& on_device);

  // Fills `seconds` and `phase_seconds`, which add up exactly, with the step so far.
  void fill(StepStats& stats) const;

  // As fill(), and the next step starts at this instant, in Phase::Other.
  void finish(StepStats& stats);

 private:
  void fill(StepStats& stats, const activity::Spent& now) const;

  activity::Spent before_ = activity::spent();  // this step
  PhaseSeconds moved_{};                        // by divide_as(), in this step
};

}  // namespace pixelbert::metrics
