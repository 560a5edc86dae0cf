// Where the wall time of a step goes.
#pragma once

#include <array>
#include <chrono>

#include "metrics/step_stats.h"

namespace pixelbert::metrics {

// Attributes each instant to the phase that was entered last.
class PhaseClock {
 public:
  void enter(Phase phase);  // the clock begins in Phase::Other

  // Fills `seconds` and `phase_seconds`, which add up exactly, with the step so far.
  void fill(StepStats& stats);

  // As fill(), and the next step starts at this instant, in Phase::Other.
  void finish(StepStats& stats);

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
  Phase phase_ = Phase::Other;
  std::array<Clock::duration, kPhaseNames.size()> spent_{};
};

}  // namespace pixelbert::metrics
