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
    const StartWatch watch(2);
    activity::reading("/nfs/runs/a/manifest.json");
    hang();
    return 0;
  });
  EXPECT_EQ(child.wait(), 1);
  EXPECT_THAT(child.output(), HasSubstr("rank 3 on host "));
  EXPECT_THAT(child.output(), HasSubstr(fmt::format("(pid {}) has spent ", child.pid())));
  EXPECT_THAT(child.output(), HasSubstr("in start, reading /nfs/runs/a/manifest.json"));
}

TEST(StartWatch, LeavesOneAloneThatMovesOrIsWatchedByAll) {
  ChildProcess slow([] {
    const StartWatch watch(2);
    for (int i = 0; i < 100; ++i) {
      std::this_thread::sleep_for(30ms);
      activity::moved();
    }
    return 0;
  });
  ChildProcess watched([] {
    const StartWatch watch(2);
    StartWatch::hand_over();
    std::this_thread::sleep_for(3s);
    return 0;
  });
  ChildProcess training([] {
    const StartWatch watch(2);
    activity::doing(activity::Phase::Data, "the loader's batches");
    std::this_thread::sleep_for(3s);
    return 0;
  });
  for (ChildProcess* child : {&slow, &watched, &training}) EXPECT_EQ(child->wait(), 0) << child->output();
}

TEST(StartWatch, TimeInWhichTheProcessWasStoppedDoesNotCount) {
  const Pipe told;
  ChildProcess child([&] {
    const RunningClock::Ticker ticker;
    const StartWatch watch(6);
    const auto end = std::chrono::steady_clock::now() + 10s;  // it may be stopped before it sleeps
    told.put("ready");
    std::this_thread::sleep_until(end);
    activity::moved();
    return 0;
  });
  told.get();
  child.stop();
  std::this_thread::sleep_for(9s);
  child.signal(SIGCONT);
  EXPECT_EQ(child.wait(), 0) << child.output();
}

TEST(StartWatch, EndsAStartThatIsAskedToStopAndHangs) {
  const Pipe told;
  const auto start = [&](bool watched) {
    catch_stop_signals();
    const StartWatch watch(300);
    if (watched) StartWatch::hand_over();
    activity::reading("/nfs/runs/a/model.safetensors");
    told.put("ready");
    hang();
    return 0;
  };
  ChildProcess alone([&] { return start(false); }), watched([&] { return start(true); });
  for (int i = 0; i < 2; ++i) told.get();
  for (ChildProcess* child : {&alone, &watched}) child->signal(SIGTERM);
  for (ChildProcess* child : {&alone, &watched}) {
    EXPECT_EQ(child->wait(), 75);
    EXPECT_THAT(child->output(), HasSubstr("stopped on request in start, reading /nfs/runs/a/model.safetensors"));
  }
}

}  // namespace
}  // namespace pixelbert::watch
