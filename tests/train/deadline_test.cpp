#include "train/deadline.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/support/temporary_folder.h"

namespace pixelbert::train {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class DeadlineTest : public testing::Test {
 protected:
  void ends_in(double seconds) { std::ofstream(file_) << std::fixed << now() + seconds << "\n"; }

  test::TemporaryFolder folder_;
  std::filesystem::path file_ = folder_.path() / "deadline";
};

TEST_F(DeadlineTest, IsNotReachedWithoutAFile) {
  Deadline deadline(file_);
  EXPECT_FALSE(deadline.reached(0));
}

TEST_F(DeadlineTest, KeepsAMinuteForASaveOfUnknownLength) {
  Deadline deadline(file_);
  ends_in(100);
  EXPECT_FALSE(deadline.reached(0));
  ends_in(50);
  EXPECT_TRUE(deadline.reached(0));
}

TEST_F(DeadlineTest, KeepsTwiceTheLongestSave) {
  Deadline deadline(file_);
  ends_in(50);
  EXPECT_FALSE(deadline.reached(2));
  EXPECT_TRUE(deadline.reached(30));
}

TEST_F(DeadlineTest, KeepsTimeForTwoSteps) {
  Deadline deadline(file_);
  deadline.reached(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // a step
  ends_in(5 + 2 + 2 * 0.5);
  EXPECT_TRUE(deadline.reached(1));
}

TEST_F(DeadlineTest, IgnoresOneOfAnEarlierAllocation) {
  ends_in(-100);
  Deadline deadline(file_);
  EXPECT_FALSE(deadline.reached(1));
}

TEST_F(DeadlineTest, FollowsAChangedTimeLimit) {
  Deadline deadline(file_);
  ends_in(1);
  EXPECT_TRUE(deadline.reached(1));
  ends_in(3600);
  EXPECT_FALSE(deadline.reached(1));
}

}  // namespace
}  // namespace pixelbert::train
