#include "core/activity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <latch>
#include <thread>

namespace pixelbert::activity {
namespace {

const Activity* of(const std::vector<Activity>& all, const std::string& thread) {
  const auto found = std::ranges::find(all, thread, &Activity::thread);
  return found == all.end() ? nullptr : &*found;
}

TEST(Activity, TellsWhatEachThreadDoesAndForgetsThoseThatEnded) {
  begin_step(7);
  doing(Phase::Forward, "micro-batch 2");
  std::latch said(1), seen(1);
  std::thread loader([&] {
    name_thread("loader 0");
    doing(Phase::Data, "image 5");
    said.count_down();
    seen.wait();
  });
  said.wait();
  std::vector<Activity> now = all();
  ASSERT_NE(of(now, "main"), nullptr);
  EXPECT_EQ(of(now, "main")->step, 7);
  EXPECT_EQ(of(now, "main")->phase, Phase::Forward);
  EXPECT_EQ(of(now, "main")->wait, Wait::None);
  EXPECT_EQ(now[0].thread, "main");
  ASSERT_NE(of(now, "loader 0"), nullptr);
  EXPECT_EQ(of(now, "loader 0")->doing, "image 5");
  seen.count_down();
  loader.join();
  EXPECT_EQ(of(all(), "loader 0"), nullptr);
}

TEST(Activity, WaitsForAWhileInStart) {
  doing(Phase::Start, "the options");
  {
    const WaitInStart wait("a message");
    EXPECT_EQ(all()[0].wait, Wait::Start);
    EXPECT_EQ(all()[0].doing, "a message");
  }
  EXPECT_EQ(all()[0].wait, Wait::None);
  EXPECT_EQ(all()[0].doing, "the options");

  waiting(Wait::Start, "the others' peaks");
  {
    const WaitInStart wait("a message");
    EXPECT_EQ(all()[0].doing, "the others' peaks");
  }
  EXPECT_EQ(all()[0].wait, Wait::Start);
  doing(Phase::Checkpoint, "writing");
  const WaitInStart wait("a message");
  EXPECT_EQ(all()[0].phase, Phase::Checkpoint);
  EXPECT_EQ(all()[0].doing, "writing");
}

TEST(Activity, CountsSecondsFromTheLastWord) {
  waiting(Wait::Sums, "loss sums");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_GE(all()[0].seconds, 0.2);
  EXPECT_EQ(all()[0].wait, Wait::Sums);
  doing(Phase::Optimizer, "the update");
  EXPECT_LT(all()[0].seconds, 0.2);
}

}  // namespace
}  // namespace pixelbert::activity
