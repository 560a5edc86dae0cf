#include "watch/start_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/activity.h"
#include "core/running_clock.h"
#include "core/stop_signal.h"
#include "tests/support/child_process.h"

namespace pixelbert::watch {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

void hang() {
  for (;;) ::pause();
}

TEST(StartWatch, EndsAStartThatHangsAndNamesTheFile) {
  ChildProcess child([] {
    ::setenv("OMPI_COMM_WORLD_RANK", "3", 1);
    const StartWatch watch(1);
    activity::reading("/nfs/runs/a/manifest.json");
    hang();
    return 0;
  });
  EXPECT_EQ(child.wait(), 1);
  EXPECT_THAT(child.output(), HasSubstr("rank 3 on host "));
  EXPECT_THAT(child.output(), HasSubstr(fmt::format("(pid {}) has been for ", child.pid())));
  EXPECT_THAT(child.output(), HasSubstr("in start, reading /nfs/runs/a/manifest.json"));
}

TEST(StartWatch, LeavesOneAloneThatMovesOrIsWatchedByAll) {
  ChildProcess slow([] {
    const StartWatch watch(1.5);
    for (int i = 0; i < 100; ++i) {
      std::this_thread::sleep_for(30ms);
      activity::moved();
    }
    return 0;
  });
  EXPECT_EQ(slow.wait(), 0) << slow.output();
  ChildProcess watched([] {
    const StartWatch watch(0.5);
    StartWatch::hand_over();
    std::this_thread::sleep_for(2s);
    return 0;
  });
  EXPECT_EQ(watched.wait(), 0) << watched.output();
  ChildProcess training([] {
    const StartWatch watch(0.5);
    activity::doing("data", "the loader's batches");
    std::this_thread::sleep_for(2s);
    return 0;
  });
  EXPECT_EQ(training.wait(), 0) << training.output();
}

TEST(StartWatch, TimeInWhichTheProcessWasStoppedDoesNotCount) {
  const Pipe told;
  ChildProcess child([&] {
    const RunningClock::Ticker ticker;
    const StartWatch watch(5);
    told.put("ready");
    std::this_thread::sleep_for(10s);
    activity::moved();
    return 0;
  });
  told.get();
  child.stop();
  std::this_thread::sleep_for(8s);
  child.signal(SIGCONT);
  EXPECT_EQ(child.wait(), 0) << child.output();
}

TEST(StartWatch, EndsAStartThatIsAskedToStopAndHangs) {
  for (const bool watched : {false, true}) {
    const Pipe told;
    ChildProcess child([&] {
      catch_stop_signals();
      const StartWatch watch(300);
      if (watched) StartWatch::hand_over();
      activity::reading("/nfs/runs/a/model.safetensors");
      told.put("ready");
      hang();
      return 0;
    });
    told.get();
    child.signal(SIGTERM);
    EXPECT_EQ(child.wait(), 75);
    EXPECT_THAT(child.output(), HasSubstr("stopped on request in start, reading /nfs/runs/a/model.safetensors"));
  }
}

}  // namespace
}  // namespace pixelbert::watch
