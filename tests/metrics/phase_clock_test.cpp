#include "metrics/phase_clock.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

namespace pixelbert::metrics {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

double of(const StepStats& stats, Phase phase) {
  return stats.phase_seconds[static_cast<std::size_t>(phase)];
}

TEST(PhaseClock, PhasesAddUpToTheStepExactly) {
  PhaseClock clock;
  for (int step = 0; step < 100; ++step) {
    StepStats stats;
    for (std::size_t i = 0; i < kStepPhases; ++i) {
      activity::doing(static_cast<Phase>(i), "");
      std::this_thread::sleep_for(std::chrono::microseconds(1 + 7 * i));
    }
    clock.finish(stats);
    EXPECT_EQ(std::accumulate(stats.phase_seconds.begin(), stats.phase_seconds.end(), 0.0), stats.seconds);
  }
}

TEST(PhaseClock, StepsFollowEachOtherWithoutAGap) {
  activity::doing(Phase::Other, "");
  const Clock::time_point before = Clock::now();
  PhaseClock clock;
  double sum = 0;
  for (int step = 0; step < 5; ++step) {
    StepStats stats;
    activity::doing(Phase::Data, "");
    clock.finish(stats);
    sum += stats.seconds;
    std::this_thread::sleep_for(2ms);  // belongs to the next step
  }
  const Clock::time_point last_sleep = Clock::now();
  StepStats stats;
  clock.finish(stats);
  const double total = std::chrono::duration<double>(Clock::now() - before).count();
  EXPECT_LE(sum + stats.seconds, total);
  EXPECT_GE(sum + stats.seconds, std::chrono::duration<double>(last_sleep - before).count() - 1e-3);
}

TEST(PhaseClock, GivesAPhaseTheTimeFromItsEntryToTheNext) {
  PhaseClock clock;
  for (int i = 0; i < 2; ++i) {
    activity::doing(Phase::Forward, "");
    std::this_thread::sleep_for(3ms);
  }
  activity::doing(Phase::Other, "");
  std::this_thread::sleep_for(5ms);
  StepStats stats;
  clock.finish(stats);
  EXPECT_GE(of(stats, Phase::Forward), 0.006);
  EXPECT_GE(of(stats, Phase::Other), 0.005);
  EXPECT_EQ(of(stats, Phase::Backward), 0);
}

}  // namespace
}  // namespace pixelbert::metrics
