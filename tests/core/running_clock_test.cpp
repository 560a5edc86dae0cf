#include "core/running_clock.h"

#include <gtest/gtest.h>

#include "tests/support/child_process.h"

namespace pixelbert {
namespace {

using Steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

double seconds(auto duration) {
  return std::chrono::duration<double>(duration).count();
}

TEST(RunningClock, DoesNotCountTheTimeInWhichTheProcessWasStopped) {
  const Pipe told;
  ChildProcess child([&] {
    const RunningClock::Ticker ticker;
    const auto running = RunningClock::now();
    const auto steady = Steady::now();
    auto last = Steady::now();  // before the stop, which may come at once
    told.put("ready");
    for (;;) {  // until it has been stopped
      std::this_thread::sleep_for(10ms);
      if (Steady::now() - last > 2s) break;
      last = Steady::now();
    }
    told.put(std::to_string(seconds(RunningClock::now() - running)));
    told.put(std::to_string(seconds(Steady::now() - steady)));
    return 0;
  });
  told.get();
  child.stop();
  std::this_thread::sleep_for(4s);
  child.signal(SIGCONT);
  const double counted = std::stod(told.get()), passed = std::stod(told.get());
  EXPECT_EQ(child.wait(), 0) << child.output();
  EXPECT_GE(passed, 4);
  EXPECT_LE(counted, passed - 2.9);
}

TEST(RunningClock, NeverGoesBack) {
  auto last = RunningClock::now();
  for (int i = 0; i < 3; ++i) {
    const RunningClock::Ticker ticker;
    for (int j = 0; j < 100; ++j) {
      const auto now = RunningClock::now();
      EXPECT_GE(now, last);
      last = now;
      std::this_thread::sleep_for(2ms);
    }
  }
}

TEST(RunningClock, CountsAllTimeWithoutATicker) {
  const auto running = RunningClock::now();
  std::this_thread::sleep_for(1200ms);
  EXPECT_GE(seconds(RunningClock::now() - running), 1.2);
}

}  // namespace
}  // namespace pixelbert
