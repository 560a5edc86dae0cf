#include "metrics/jsonl_sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <csignal>
#include <fstream>
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
  std::filesystem::path aside_ = folder_.path() / "metrics.jsonl.odd";
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
                           {"other", 0.01}}},
                         {"gather_seconds", 0.0},
                         {"checkpoint_seconds", json::array()}};
  EXPECT_EQ(line, expected);
}

TEST_F(JsonlSinkTest, ShowsInWhichStepASaveEnded) {
  StepStats begins = example_stats(1), ends = example_stats(2);
  begins.phase_seconds[static_cast<std::size_t>(Phase::Checkpoint)] = 0.01;
  ends.checkpoint_seconds = {1.5};
  {
    JsonlSink sink(path_, 0);
    sink.record(begins);
    EXPECT_EQ(first_saved_line(path_), "") << "a save that has only begun may be lost";
    sink.record(ends);
  }
  EXPECT_EQ(first_saved_line(path_), jsonl_line(ends));
  std::ofstream(path_) << R"({"step": 3, "phase_seconds": {"checkpoint": 0.5}})" << "\n";
  EXPECT_THAT(first_saved_line(path_), testing::HasSubstr("\"step\": 3")) << "a line of version 0.1";
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
    // Without a line end even a complete object does not count as complete.
    ASSERT_THAT(steps_of(path_), ElementsAre(1, 2, 4)) << "cut after " << size - third << " bytes of the line";
  }
  write_file(path_, whole);
  record(3, 4);
  EXPECT_THAT(steps_of(path_), ElementsAre(1, 2, 3, 4));
}

std::string line_of(std::int64_t step) {
  return jsonl_line(example_stats(step)) + "\n";
}

TEST_F(JsonlSinkTest, KeepsOddLinesAsideAndTheGoodOnesBehindThem) {
  const std::vector<std::string> odd_lines = {
      "",
      "# a note",
      std::string(4096, '\0'),
      line_of(4).substr(0, 40),
      "{\"step\": 4, \"note\": \"\xFF\"}",
      "{}",
      "[4]",
      "4",
      "null",
      "{\"epoch\": 4}",
      "{\"step\": \"4\"}",
      "{\"step\": 4.5}",
      "{\"step\": true}",
      "{\"step\": null}",
      "{\"step\": -4}",
      "{\"step\": 0}",
      "{\"step\": 18446744073709551615}",
      "{\"step\": 100000000000000000000}",
      "{\"step\": 4, \"long\": \"" + std::string(3 << 20, 'x') + "\"}",
      std::string(100000, '['),
  };
  for (const std::string& odd : odd_lines) {
    for (const int before : {0, 3, 6}) {  // 6: at the end
      std::string content;
      for (int step = 1; step <= 6; ++step) content += (step == before + 1 ? odd + "\n" : "") + line_of(step);
      if (before == 6) content += odd + "\n";
      std::filesystem::remove(aside_);
      std::ofstream(path_) << content;
      record(5, 6);
      std::string expected;
      for (int step = 1; step <= 6; ++step) expected += line_of(step);
      ASSERT_EQ(read_file(path_), expected) << odd.substr(0, 60) << " behind step " << before;
      ASSERT_EQ(read_file(aside_), odd + "\n");
    }
  }
}

TEST_F(JsonlSinkTest, PutsStepsInTheirOrderAndEachOnce) {
  std::ofstream(path_) << line_of(2) << line_of(1) << line_of(2) << line_of(7) << line_of(4) << line_of(1)
                       << line_of(3);
  record(4, 5);
  EXPECT_EQ(read_file(path_), line_of(1) + line_of(2) + line_of(3) + line_of(4) + line_of(5));
  EXPECT_EQ(read_file(aside_), line_of(2) + line_of(1));
}

TEST_F(JsonlSinkTest, KeepsTheFileOfARunThatEndedBeforeItsFirstCheckpoint) {
  record(0, 3);
  record(0, 2);
  EXPECT_THAT(steps_of(path_), ElementsAre(1, 2));
  EXPECT_THAT(steps_of(path_.string() + ".old"), ElementsAre(1, 2, 3));
  record(0, 1);
  EXPECT_THAT(steps_of(path_.string() + ".old2"), ElementsAre(1, 2));
}

TEST_F(JsonlSinkTest, KeepsALineThatWasCutAndWritesTheOneOfTheCheckpoint) {
  std::ofstream(path_) << line_of(1) << line_of(2) << line_of(3).substr(0, 50);
  {
    const JsonlSink sink(path_, 3, jsonl_line(example_stats(3)));
  }
  EXPECT_EQ(read_file(path_), line_of(1) + line_of(2) + line_of(3));
  EXPECT_EQ(read_file(aside_), line_of(3).substr(0, 50) + "\n");
}

TEST_F(JsonlSinkTest, LeavesAFileAloneThatNeedsNoChange) {
  record(0, 4);
  const auto file = [&] {
    struct stat status{};
    EXPECT_EQ(::stat(path_.c_str(), &status), 0);
    return status.st_ino;
  };
  const auto before = file();
  record(4, 6);
  EXPECT_EQ(file(), before);
  EXPECT_FALSE(std::filesystem::exists(aside_));
  record(2, 3);  // later lines are cut off, without a second copy on a disk that may be full
  EXPECT_EQ(file(), before);
  EXPECT_FALSE(std::filesystem::exists(aside_));
}

// Whatever a kill leaves: the old file, some odd lines in both files, an incomplete copy.
TEST_F(JsonlSinkTest, LosesNothingWhenItWasKilledWhileItTidied) {
  std::ofstream(path_) << line_of(1) << "note\n" << line_of(2);
  std::ofstream(aside_) << "note\n";
  std::ofstream(path_.string() + ".tmp") << line_of(1).substr(0, 20);
  record(2, 3);
  EXPECT_EQ(read_file(path_), line_of(1) + line_of(2) + line_of(3));
  EXPECT_THAT(read_file(aside_), HasSubstr("note\n"));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".tmp"));
}

TEST_F(JsonlSinkTest, FollowsALinkToAFile) {
  const std::filesystem::path elsewhere = folder_.path() / "elsewhere.jsonl";
  std::ofstream(elsewhere) << line_of(1) << "note\n" << line_of(2);
  std::filesystem::create_symlink(elsewhere, path_);
  record(2, 3);
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  EXPECT_EQ(read_file(elsewhere), line_of(1) + line_of(2) + line_of(3));
}

TEST_F(JsonlSinkTest, KeepsTheFilesPermissions) {
  std::ofstream(path_) << "note\n" << line_of(1);
  std::filesystem::permissions(path_, std::filesystem::perms(0604));
  record(1, 2);
  EXPECT_EQ(std::filesystem::status(path_).permissions(), std::filesystem::perms(0604));
}

TEST_F(JsonlSinkTest, SaysWhatIsInItsPlace) {
  const auto open = [this] { JsonlSink(path_, 0); };
  std::filesystem::create_directory(path_);
  EXPECT_THAT(open, ThrowsMessage<Error>(HasSubstr("metrics.jsonl to be a file for the metrics, found a folder")));
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(open, ThrowsMessage<Error>(HasSubstr("found a device or pipe")));
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("metrics.jsonl", path_);  // to itself
  EXPECT_THAT(open, ThrowsMessage<std::exception>(HasSubstr("metrics.jsonl")));
}

TEST_F(JsonlSinkTest, SaysSoWhenItCannotWrite) {
  EXPECT_THAT([] { JsonlSink("/no/such/folder/metrics.jsonl", 0); },
              ThrowsMessage<Error>(HasSubstr("cannot open /no/such/folder/metrics.jsonl for writing: No such file")));
}

TEST_F(JsonlSinkTest, KeepsItsLinesWhileTheDiskIsFull) {
  JsonlSink sink(path_, 0);
  sink.record(example_stats(1));
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit full{std::filesystem::file_size(path_) + 20, before.rlim_max};  // for this process
  ::setrlimit(RLIMIT_FSIZE, &full);
  sink.record(example_stats(2));
  sink.record(example_stats(3));
  EXPECT_THAT(steps_of(path_), ElementsAre(1)) << "no part of a line";
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  sink.record(example_stats(4));
  sink.record(example_stats(5));
  EXPECT_THAT(steps_of(path_), ElementsAre(1, 2, 3, 4, 5));
}

}  // namespace
}  // namespace pixelbert::metrics
