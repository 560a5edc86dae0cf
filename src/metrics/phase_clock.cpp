#include "metrics/phase_clock.h"

#include <chrono>
#include <numeric>

namespace pixelbert::metrics {
namespace {

void fill(StepStats& stats, const activity::Spent& before, const activity::Spent& now) {
  for (std::size_t i = 0; i < kStepPhases; ++i) {
    stats.phase_seconds[i] = std::chrono::duration<double>(now[i] - before[i]).count();
  }
  stats.seconds = std::accumulate(stats.phase_seconds.begin(), stats.phase_seconds.end(), 0.0);
}

}  // namespace

void PhaseClock::fill(StepStats& stats) const {
  metrics::fill(stats, before_, activity::spent());
}

void PhaseClock::finish(StepStats& stats) {
  activity::doing(Phase::Other, "the end of the step");
  const activity::Spent now = activity::spent();
  metrics::fill(stats, before_, now);
  before_ = now;
}

}  // namespace pixelbert::metrics
