#include "metrics/phase_clock.h"

#include <numeric>
#include <utility>

namespace pixelbert::metrics {

void PhaseClock::enter(Phase phase) {
  const Clock::time_point now = Clock::now();
  spent_[static_cast<std::size_t>(std::exchange(phase_, phase))] += now - std::exchange(last_, now);
}

void PhaseClock::fill(StepStats& stats) {
  enter(phase_);
  for (std::size_t i = 0; i < spent_.size(); ++i) {
    stats.phase_seconds[i] = std::chrono::duration<double>(spent_[i]).count();
  }
  stats.seconds = std::accumulate(stats.phase_seconds.begin(), stats.phase_seconds.end(), 0.0);
}

void PhaseClock::finish(StepStats& stats) {
  enter(Phase::Other);
  fill(stats);
  spent_ = {};
}

}  // namespace pixelbert::metrics
