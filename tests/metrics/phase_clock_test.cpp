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

TEST(PhaseClock, DividesTheHostsTimeAsTheDeviceHasSpentIt) {
  activity::doing(Phase::Data, "");
  PhaseClock clock;
  std::this_thread::sleep_for(3ms);
  activity::doing(Phase::Forward, "");
  activity::doing(Phase::Backward, "");  // the host waits here for everything
  std::this_thread::sleep_for(8ms);
  activity::doing(Phase::Other, "");
  PhaseSeconds on_device{};
  on_device[static_cast<std::size_t>(Phase::Forward)] = 1;
  on_device[static_cast<std::size_t>(Phase::Backward)] = 2;
  on_device[static_cast<std::size_t>(Phase::ReduceWait)] = 0.5;
  on_device[static_cast<std::size_t>(Phase::Optimizer)] = 0.5;
  on_device[static_cast<std::size_t>(Phase::Data)] = 7;  // the host has its own time of this
  const double scale = clock.divide_as(on_device);
  activity::doing(Phase::Checkpoint, "");  // after the device's times
  std::this_thread::sleep_for(2ms);
  StepStats stats;
  clock.finish(stats);
  const double forward = of(stats, Phase::Forward);
  EXPECT_GE(forward, 0.002);
  EXPECT_DOUBLE_EQ(forward, 1 * scale);
  EXPECT_NEAR(of(stats, Phase::Backward), 2 * forward, 1e-9);
  EXPECT_NEAR(of(stats, Phase::ReduceWait), forward / 2, 1e-9);
  EXPECT_NEAR(of(stats, Phase::Optimizer), forward / 2, 1e-9);
  EXPECT_GE(of(stats, Phase::Data), 0.003);
  EXPECT_GE(of(stats, Phase::Checkpoint), 0.002);
  EXPECT_EQ(std::accumulate(stats.phase_seconds.begin(), stats.phase_seconds.end(), 0.0), stats.seconds);

  activity::doing(Phase::Forward, "");
  std::this_thread::sleep_for(1ms);
  StepStats next;
  clock.finish(next);
  EXPECT_EQ(of(next, Phase::Backward), 0) << "each step is divided by itself";
  EXPECT_GE(of(next, Phase::Forward), 0.001);
}

}  // namespace
}  // namespace pixelbert::metrics
