#include "metrics/jsonl_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/check.h"
#include "core/files.h"
#include "tests/metrics/example_stats.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::metrics {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::vector<json> lines_of(const std::filesystem::path& path) {
  std::vector<json> lines;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

std::vector<std::int64_t> steps_of(const std::filesystem::path& path) {
  std::vector<std::int64_t> steps;
  for (const json& line : lines_of(path)) steps.push_back(line["step"]);
  return steps;
}

class JsonlSinkTest : public testing::Test {
 protected:
  void record(std::int64_t resumed, std::int64_t last) {
    JsonlSink sink(path_, resumed);
    for (std::int64_t step = resumed + 1; step <= last; ++step) sink.record(example_stats(step));
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "metrics.jsonl";
};

TEST_F(JsonlSinkTest, WritesWhatWasRecorded) {
  record(0, 2);
  ASSERT_EQ(lines_of(path_).size(), 2u);
  const StepStats stats = example_stats(2);
  const json line = lines_of(path_)[1];
  const json expected = {{"step", 2},
                         {"epoch", 0},
                         {"samples", 128},
                         {"loss", stats.loss},
                         {"mlm_loss", 3.5},
                         {"itm_loss", 0.7},
                         {"mlm_accuracy", 0.25},
                         {"itm_accuracy", 0.5},
                         {"learning_rate", {{"backbone", 1e-2}, {"transformer", 1e-4}}},
                         {"gradient_norm", 12.5},
                         {"seconds", stats.seconds},
                         {"phase_seconds",
                          {{"data", 0.1},
                           {"forward", 0.2},
                           {"backward", 0.3},
                           {"reduce_wait", 0.05},
                           {"optimizer", 0.02},
                           {"checkpoint", 0.0},
                           {"other", 0.01}}}};
  EXPECT_EQ(line, expected);
}

TEST_F(JsonlSinkTest, HasEachLineOnTheDiskBeforeTheNextStep) {
  JsonlSink sink(path_, 0);
  for (std::int64_t step = 1; step <= 3; ++step) {
    sink.record(example_stats(step));
    EXPECT_EQ(steps_of(path_).back(), step);
  }
}

TEST_F(JsonlSinkTest, StaysJsonWhereANumberIsNotFinite) {
  StepStats stats = example_stats(1);
  stats.loss = NAN;
  stats.gradient_norm = INFINITY;
  stats.skipped = "not_finite";
  JsonlSink(path_, 0).record(stats);
  const json line = lines_of(path_)[0];
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["gradient_norm"].is_null());
  EXPECT_EQ(line["skipped"], "not_finite");
}

TEST_F(JsonlSinkTest, HasEveryStepOnceAfterARunWasInterruptedBehindItsCheckpoint) {
  record(0, 7);
  record(4, 6);
  EXPECT_THAT(steps_of(path_), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(JsonlSinkTest, WritesTheLineThatIsMissingWhenARunWasKilledBehindItsCheckpoint) {
  {
    JsonlSink sink(path_, 0);
    sink.record(example_stats(1));
    sink.record(example_stats(2));
  }
  {
    const JsonlSink killed_before_the_line(path_, 3, jsonl_line(example_stats(3)));
  }
  {
    const JsonlSink killed_behind_the_line(path_, 3, jsonl_line(example_stats(3)));
  }
  std::ifstream in(path_);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  EXPECT_EQ(lines, (std::vector<std::string>{jsonl_line(example_stats(1)), jsonl_line(example_stats(2)),
                                             jsonl_line(example_stats(3))}));
}

TEST_F(JsonlSinkTest, StartsOverWithANewRun) {
  record(0, 3);
  record(0, 1);
  EXPECT_THAT(steps_of(path_), ElementsAre(1));
}

TEST_F(JsonlSinkTest, RemovesALineThatWasCutWhereverItWasCut) {
  record(0, 3);
  const std::string whole = read_file(path_);
  const std::size_t third = whole.rfind('\n', whole.size() - 2) + 1;
  for (std::size_t size = third; size < whole.size(); ++size) {
    write_file(path_, whole.substr(0, size));
    record(3, 4);
    // Without its line end even a complete object is not taken for whole.
    ASSERT_THAT(steps_of(path_), ElementsAre(1, 2, 4)) << "cut after " << size - third << " bytes of the line";
  }
  write_file(path_, whole);
  record(3, 4);
  EXPECT_THAT(steps_of(path_), ElementsAre(1, 2, 3, 4));
}

TEST_F(JsonlSinkTest, SaysSoWhenItCannotWrite) {
  EXPECT_THAT([] { JsonlSink("/no/such/folder/metrics.jsonl", 0); },
              ThrowsMessage<Error>(HasSubstr("cannot open /no/such/folder/metrics.jsonl: No such file or directory")));
  JsonlSink full("/dev/full", 0);
  EXPECT_THAT([&] { full.record(example_stats(1)); },
              ThrowsMessage<Error>(HasSubstr("cannot write /dev/full: No space left on device")));
}

}  // namespace
}  // namespace pixelbert::metrics
