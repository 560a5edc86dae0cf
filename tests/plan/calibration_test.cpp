#include "plan/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::plan {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::string step(double seconds, double checkpoint, int number = 1) {
  return fmt::format(
      R"({{"step": {2}, "phase_seconds": {{"data": 0, "forward": {0}, "backward": {0}, "reduce_wait": {0}, "optimizer": 0, "checkpoint": {1}, "other": 0}}}})"
      "\n",
      seconds, checkpoint, number);
}

TEST(Calibration, IsTheMedianWithoutTheFirstSteps) {
  const test::TemporaryFolder run;
  std::string lines = step(9, 0) + step(9, 0);
  for (int i = 0; i < 10; ++i) lines += step(0.5, 1e-6);
  lines += step(7, 2);
  write_file(run.path() / "metrics.jsonl", lines);
  const Calibration speed = measure(run.path(), 0, {.flops = 10, .weights = 3, .checkpoint_bytes = 8});
  EXPECT_DOUBLE_EQ(speed.flops_per_second, 10);
  EXPECT_DOUBLE_EQ(speed.weights_per_second, 6);
  EXPECT_DOUBLE_EQ(speed.bytes_per_second, 4);
  EXPECT_THAT(speed.origin, HasSubstr("13 steps"));

  write_calibration(run.path() / "calibration.json", speed);
  const Calibration again = read_calibration(run.path() / "calibration.json");
  EXPECT_EQ(again.flops_per_second, speed.flops_per_second);
  EXPECT_EQ(again.origin, speed.origin);
}

TEST(Calibration, LeavesOutStepsOnOtherRanks) {
  const test::TemporaryFolder run;
  std::string lines;
  for (int number = 1; number <= 30; ++number) lines += step(number <= 15 ? 9 : 0.5, number == 30 ? 2 : 0, number);
  write_file(run.path() / "metrics.jsonl", lines);
  EXPECT_DOUBLE_EQ(measure(run.path(), 15, {.flops = 10}).flops_per_second, 10);
}

TEST(Calibration, SaysWhatIsMissing) {
  const test::TemporaryFolder run;
  const auto measured = [&] { measure(run.path(), 0, {}); };
  EXPECT_THAT(measured, ThrowsMessage<Error>(HasSubstr("metrics.jsonl")));
  write_file(run.path() / "metrics.jsonl", step(1, 1) + step(1, 1));
  EXPECT_THAT(measured, ThrowsMessage<Error>(HasSubstr("expected at least 12 steps")));
  write_file(run.path() / "metrics.jsonl", "a note\n{\"step\": 1}\n");
  EXPECT_THAT(measured, ThrowsMessage<Error>(HasSubstr("line 2")));
}

TEST(Calibration, PassesOverLinesThatAreNoSteps) {
  const test::TemporaryFolder run;
  std::string lines =
      step(9, 0) + "\n# a note\n{}\n" + std::string(64, '\0') + "\n" + step(9, 0).substr(0, 40) + "\n" + step(9, 0);
  for (int i = 0; i < 10; ++i) lines += step(0.5, 1e-6);
  write_file(run.path() / "metrics.jsonl", lines + step(7, 2));
  const Calibration speed = measure(run.path(), 0, {.flops = 10});
  EXPECT_DOUBLE_EQ(speed.flops_per_second, 10);
  EXPECT_THAT(speed.origin, HasSubstr("13 steps"));
}

}  // namespace
}  // namespace pixelbert::plan
