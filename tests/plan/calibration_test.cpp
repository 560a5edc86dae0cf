#include "plan/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"
#include "core/files.h"
#include "plan/replay.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::plan {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// `rest`: more fields of the line.
std::string step(double seconds, double checkpoint, int number = 1, const std::string& rest = "") {
  return fmt::format(
      R"({{"step": {2}, "phase_seconds": {{"data": 0, "forward": {0}, "backward": {3}, "reduce_wait": {3}, "optimizer": {0}, "checkpoint": {1}, "other": 0}}{4}}})"
      "\n",
      seconds, checkpoint, number, 3 * seconds, rest);
}

// A step of four micro-batches.
RunWork work() {
  return {.steps = {{{.flops = 4, .images = 2},
                     {.flops = 6, .images = 2},
                     {.flops = 5, .images = 2},
                     {.flops = 5, .images = 2}}},
          .buckets = {30, 10},
          .weights = 10,
          .checkpoint_bytes = 8};
}

// Writes twelve steps of half a second of forward, and a save of 2 s; returns the calibration of these on `ranks`.
Calibration measured(const std::filesystem::path& run, int ranks, const std::string& rest = "") {
  std::string lines = step(9, 0) + step(9, 0);
  for (int i = 0; i < 10; ++i) lines += step(0.5, 1e-6, 1, rest);
  write_file(run / "metrics.jsonl", lines + step(7, 2));
  return measure(run, 0, work(), ranks);
}

TEST(Calibration, IsTheMedianWithoutTheFirstSteps) {
  const test::TemporaryFolder run;
  const Calibration speed = measured(run.path(), 1);
  EXPECT_DOUBLE_EQ(speed.flops_per_second, 10);
  EXPECT_DOUBLE_EQ(speed.backward_share, 0.75);
  EXPECT_DOUBLE_EQ(speed.updates_per_second, 20);
  EXPECT_DOUBLE_EQ(speed.saved_per_second, 4);
  EXPECT_EQ(speed.waiting_share, 0);
  EXPECT_EQ(speed.images_per_second, 0) << "the step did not wait for data";
  EXPECT_TRUE(speed.ready.empty());
  EXPECT_THAT(speed.origin, HasSubstr("13 steps on 1 rank of"));

  write_calibration(run.path() / "calibration.json", speed);
  const Calibration again = read_calibration(run.path() / "calibration.json");
  EXPECT_EQ(again.flops_per_second, speed.flops_per_second);
  EXPECT_EQ(again.origin, speed.origin);
}

TEST(Calibration, RefusesSpeedsThatCannotBe) {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "calibration.json";
  Calibration speed{.flops_per_second = 1e9,
                    .backward_share = 0.6,
                    .updates_per_second = 1e9,
                    .exchange_per_second = 1e9,
                    .saved_per_second = 1e9};
  write_calibration(file, speed);
  EXPECT_EQ(read_calibration(file).updates_per_second, 1e9);
  speed.updates_per_second = 0;
  write_calibration(file, speed);
  EXPECT_THAT([&] { read_calibration(file); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("expected a 'updates_per_second' above 0, found 0")));
}

TEST(Calibration, LearnsTheExchangeAndTheWaitingOfSeveralRanks) {
  const test::TemporaryFolder run;
  const Calibration speed = measured(run.path(), 2, R"(, "gather_seconds": 0.1)");
  EXPECT_DOUBLE_EQ(speed.flops_per_second, 5) << "two of the micro-batches are rank 0's";
  EXPECT_DOUBLE_EQ(speed.updates_per_second, 10);
  EXPECT_DOUBLE_EQ(speed.exchange_per_second, 200) << "half of 40 bytes in 0.1 s";
  // The sums take 0.075 s and 0.025 s; with the buckets evenly spread over 0.9 s of the last backward, which ends at
  // 2 s, and that is also when the last one begins. Then 0.1 s for the weights.
  const double explained = 0.025 + 0.1;
  EXPECT_NEAR(speed.waiting_share, (1.5 - explained) / 2, 1e-3);

  const double measured_step = 0.5 + 1.5 + 1.5 + 0.5;
  EXPECT_NEAR(replay(work(), speed, {.ranks = 2, .ranks_per_node = 2}).all(), measured_step, 1e-9);
}

TEST(Calibration, OfAnEarlierVersionTakesHalfOfTheWaitingForTheWeights) {
  const test::TemporaryFolder run;
  const Calibration speed = measured(run.path(), 2);
  EXPECT_DOUBLE_EQ(speed.exchange_per_second, 20 / 0.75);
  EXPECT_TRUE(speed.ready.empty());
}

TEST(Calibration, LearnsWhenBucketsAreReady) {
  const test::TemporaryFolder run;
  const Calibration speed = measured(run.path(), 2, R"(, "gather_seconds": 0.1, "bucket_ready": [0.25, 0.5])");
  const std::vector<std::pair<double, double>> expected = {{0.75, 0.25}, {1, 0.5}};
  EXPECT_EQ(speed.ready, expected);
  write_calibration(run.path() / "calibration.json", speed);
  EXPECT_EQ(read_calibration(run.path() / "calibration.json").ready, expected);
  EXPECT_TRUE(measured(run.path(), 2, R"(, "bucket_ready": [0.25])").ready.empty()) << "buckets of another size";
}

TEST(Calibration, LearnsTheLoadersRateIfTheStepWaitsForIt) {
  const test::TemporaryFolder run;
  std::string lines;
  for (int i = 0; i < 15; ++i) {
    lines +=
        R"({"step": 1, "phase_seconds": {"data": 1, "forward": 1, "backward": 2, "reduce_wait": 0, "optimizer": 0, )"
        R"("checkpoint": 1, "other": 0}})"
        "\n";
  }
  write_file(run.path() / "metrics.jsonl", lines);
  const Calibration speed = measure(run.path(), 0, work(), 1);
  EXPECT_DOUBLE_EQ(speed.images_per_second, 2) << "8 images in 4 s";
}

TEST(Calibration, OfAFileOfAnEarlierVersionIsRefused) {
  const test::TemporaryFolder run;
  write_file(run.path() / "calibration.json", R"({"flops_per_second": 1, "weights_per_second": 1})");
  EXPECT_THAT([&] { read_calibration(run.path() / "calibration.json"); },
              ThrowsMessage<Error>(HasSubstr("give the run folder instead")));
}

TEST(Calibration, LeavesOutStepsOnOtherRanks) {
  const test::TemporaryFolder run;
  std::string lines;
  for (int number = 1; number <= 30; ++number) lines += step(number <= 15 ? 9 : 0.5, number == 30 ? 2 : 0, number);
  write_file(run.path() / "metrics.jsonl", lines);
  EXPECT_DOUBLE_EQ(measure(run.path(), 15, work(), 1).flops_per_second, 10);
}

TEST(Calibration, SaysWhatIsMissing) {
  const test::TemporaryFolder run;
  const auto measured = [&] { measure(run.path(), 0, work(), 1); };
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
  const Calibration speed = measure(run.path(), 0, work(), 1);
  EXPECT_DOUBLE_EQ(speed.flops_per_second, 10);
  EXPECT_THAT(speed.origin, HasSubstr("13 steps"));
}

}  // namespace
}  // namespace pixelbert::plan
