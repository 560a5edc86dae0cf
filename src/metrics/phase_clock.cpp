#include "metrics/phase_clock.h"

#include <chrono>
#include <numeric>

namespace pixelbert::metrics {
namespace {

constexpr auto kOnDevice = {Phase::Forward, Phase::Backward, Phase::ReduceWait, Phase::Optimizer, Phase::Checkpoint};

}  // namespace

double PhaseClock::divide_as(const PhaseSeconds& on_device) {
  StepStats so_far;
  fill(so_far);
  double on_host = 0, measured = 0;
  for (const Phase phase : kOnDevice) {
    on_host += so_far.phase_seconds[static_cast<std::size_t>(phase)];
    measured += on_device[static_cast<std::size_t>(phase)];
  }
  if (measured <= 0) return 1;
  for (const Phase phase : kOnDevice) {
    const auto i = static_cast<std::size_t>(phase);
    moved_[i] = on_host * on_device[i] / measured - so_far.phase_seconds[i];
  }
  return on_host / measured;
}

void PhaseClock::fill(StepStats& stats, const activity::Spent& now) const {
  for (std::size_t i = 0; i < kStepPhases; ++i) {
    stats.phase_seconds[i] = std::chrono::duration<double>(now[i] - before_[i]).count() + moved_[i];
  }
  stats.seconds = std::accumulate(stats.phase_seconds.begin(), stats.phase_seconds.end(), 0.0);
}

void PhaseClock::fill(StepStats& stats) const {
  fill(stats, activity::spent());
}

void PhaseClock::finish(StepStats& stats) {
  activity::doing(Phase::Other, "the end of the step");
  const activity::Spent now = activity::spent();
  fill(stats, now);
  before_ = now;
  moved_ = {};
}

}  // namespace pixelbert::metrics
