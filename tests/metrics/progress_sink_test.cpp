#include "metrics/progress_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/metrics/example_stats.h"

namespace pixelbert::metrics {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ProgressSinkTest : public testing::Test {
 protected:
  ProgressSink::Write write() {
    return [this](const std::string& line, bool last) {
      lines_.push_back(line);
      last_ = last;
    };
  }

  std::vector<std::string> lines_;
  bool last_ = false;
};

TEST_F(ProgressSinkTest, TellsTermsSpeedShareOfPeakWaitsAndTheTimeLeft) {
  ProgressSink(1001, 0, write()).record(example_stats(1));  // 0.68 s per step
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0],
            "step 1/1001 epoch 0  itm 0.700 (50.0%)  mlm 3.500 (25.0%)  94.1 pairs/s  25% of peak  waits 15% data 7% "
            "ranks  left 0:11:20");
}

TEST_F(ProgressSinkTest, SpeaksAtTheFirstAndLastStepAndNowAndThenBetween) {
  ProgressSink sink(20, 3, write());  // 3 s are 5 steps of 0.68 s
  for (std::int64_t step = 1; step <= 20; ++step) sink.record(example_stats(step));
  EXPECT_THAT(lines_, ElementsAre(StartsWith("step 1/20"), StartsWith("step 6/20"), StartsWith("step 11/20"),
                                  StartsWith("step 16/20"), StartsWith("step 20/20")));
  EXPECT_TRUE(last_);
}

TEST_F(ProgressSinkTest, AveragesOverTheStepsSinceTheLastLine) {
  ProgressSink sink(100, 3, write());
  sink.record(example_stats(1));
  for (std::int64_t step = 2; step <= 4; ++step) {
    StepStats stats = example_stats(step);
    stats.seconds = 1;
    stats.step_samples = 100 * step;
    stats.flops = 1e10 * static_cast<double>(step);
    stats.phase_seconds = {static_cast<double>(step - 2) / 2, 0, 0, 0.25, 0, 0, 0};
    sink.record(stats);
  }
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_THAT(lines_[1], HasSubstr("300.0 pairs/s  75% of peak  waits 50% data 25% ranks  left 0:01:36"));
}

TEST_F(ProgressSinkTest, SaysNothingOfAPeakThatIsNotKnown) {
  StepStats stats = example_stats(1);
  stats.peak_flops_per_second = 0;
  ProgressSink(10, 0, write()).record(stats);
  EXPECT_THAT(lines_[0], Not(HasSubstr("peak")));
}

TEST_F(ProgressSinkTest, SaysThatAStepWasSkipped) {
  StepStats stats = example_stats(1);
  stats.skipped = "not_finite";
  ProgressSink(10, 0, write()).record(stats);
  EXPECT_THAT(lines_[0], HasSubstr("skipped: not_finite"));
}

}  // namespace
}  // namespace pixelbert::metrics
