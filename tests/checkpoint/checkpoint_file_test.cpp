#include "checkpoint/checkpoint_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "checkpoint/verify.h"
#include "core/check.h"
#include "core/files.h"
#include "tests/checkpoint/examples.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

class CheckpointFile : public testing::Test {
 protected:
  test::TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "a.safetensors";
};

TEST_F(CheckpointFile, GivesBackWhatWasWrittenButTheOptimizer) {
  Checkpoint checkpoint = example(1000);
  checkpoint.task = "vqa";
  checkpoint.answers = {"yes", "no", "größer"};
  write_checkpoint_file(path_, checkpoint);
  EXPECT_TRUE(equal(read_checkpoint_file(path_), checkpoint));
  EXPECT_TRUE(equal(load_weights(path_), checkpoint));
  EXPECT_TRUE(equal(read_safetensors(path_), checkpoint.model));
  EXPECT_EQ(read_safetensors_metadata(path_).at("format"), "pt");
}

TEST_F(CheckpointFile, ReplacesAnOlderOneWhole) {
  write_checkpoint_file(path_, example(1));
  write_checkpoint_file(path_, example(2));
  EXPECT_EQ(read_checkpoint_file(path_).step, 2);
  EXPECT_THAT([&] { write_checkpoint_file(folder_.path() / "no/such/folder.safetensors", example(3)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("cannot export to"), HasSubstr("No such file or directory"))));
  Checkpoint broken = example(4);
  broken.vocabulary = "\xff";
  EXPECT_THAT([&] { write_checkpoint_file(path_, broken); },
              ThrowsMessage<Error>(AllOf(HasSubstr("cannot export to " + path_.string()), HasSubstr("UTF-8"))));
  EXPECT_EQ(read_checkpoint_file(path_).step, 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(CheckpointFile, FindsAFlippedBitInTensorsTrainerAndVocabulary) {
  write_checkpoint_file(path_, example(1));
  const std::string whole = read_file(path_);
  for (const auto& [victim, name] : {std::pair("[UNK]", "vocab.txt"), std::pair("world_sizes", "trainer.json"),
                                     std::pair("", "model.safetensors")}) {
    std::string content = whole;
    content[*victim ? content.find(victim) + 1 : content.size() - 3] ^= 1;
    write_file(path_, content);
    EXPECT_THAT([&] { read_checkpoint_file(path_); },
                ThrowsMessage<Error>(AllOf(HasSubstr(path_.string()), HasSubstr(name), HasSubstr("checksum"))));
    EXPECT_THAT(verify(path_).problems, ElementsAre(HasSubstr("checksum")));
  }
}

TEST_F(CheckpointFile, RefusesWeightsThatAreNotFinite) {
  Checkpoint broken = example(1);
  broken.model["itm.bias"] = at::full({1}, std::numeric_limits<double>::quiet_NaN());
  write_checkpoint_file(path_, broken);
  const auto expected = ThrowsMessage<Error>(AllOf(HasSubstr(path_.string()), HasSubstr("tensor 'itm.bias'")));
  EXPECT_THAT([&] { load_weights(path_); }, expected);
  EXPECT_THAT(verify(path_).problems, ElementsAre(HasSubstr("tensor 'itm.bias'")));
}

TEST_F(CheckpointFile, IsToldFromWeightsAlone) {
  write_safetensors(path_, example(1).model, {{"format", "pt"}});
  EXPECT_THAT(
      [&] { load_weights(path_); },
      ThrowsMessage<Error>(AllOf(HasSubstr("holds only weights, not a checkpoint"), HasSubstr("pixelbert import"))));
}

TEST_F(CheckpointFile, IsDescribedAndVerified) {
  write_checkpoint_file(path_, example(1000));
  ASSERT_TRUE(is_checkpoint(path_));
  const Inspection report = verify(path_);
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_THAT(report.summary, AllOf(HasSubstr("step          1000, format 1"), HasSubstr("2 tensors of 1177 values")));
}

TEST_F(CheckpointFile, RefusesAFormatItDoesNotKnow) {
  write_safetensors(path_, {},
                    {{"manifest.json", R"({"format": "pixelbert-checkpoint", "version": 2})"},
                     {"trainer.json", "{}"},
                     {"vocab.txt", ""}});
  EXPECT_THAT([&] { read_checkpoint_file(path_); },
              ThrowsMessage<Error>(HasSubstr(path_.string() + ": manifest.json is format 2, this build reads 1")));
}

class WeightsFolder : public CheckpointFile {
 protected:
  fs::path imported_ = folder_.path() / "imported";
};

TEST_F(WeightsFolder, IsACheckpointWithoutOptimizer) {
  save_weights(imported_, example(0));
  EXPECT_TRUE(equal(load_weights(imported_), example(0)));
  EXPECT_FALSE(fs::exists(imported_ / kOptimizerName));
  EXPECT_THAT(
      [&] { load(imported_); },
      ThrowsMessage<Error>(HasSubstr("has weights but no optimizer.safetensors: training cannot resume from it")));
  ASSERT_TRUE(is_checkpoint(imported_));
  EXPECT_THAT(verify(imported_).problems, IsEmpty());
}

TEST_F(WeightsFolder, DoesNotTouchAFolderThatHoldsSomething) {
  fs::create_directory(imported_);
  save_weights(imported_.string() + "/", example(0));  // an empty folder is accepted
  EXPECT_THAT([&] { save_weights(imported_, example(1)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("cannot save weights in"), HasSubstr("not empty"))));
  EXPECT_EQ(load_weights(imported_).step, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

// A run that lost its optimizer's state must not silently continue with a fresh one.
TEST_F(WeightsFolder, InARunIsNoPlaceToResumeFrom) {
  save_weights(folder_.path() / "checkpoints" / step_name(0), example(0));
  testing::internal::CaptureStdout();  // spdlog's default, before log::start
  EXPECT_THAT([&] { load(folder_.path() / "checkpoints"); }, ThrowsMessage<Error>(HasSubstr("all 1 checkpoints")));
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("training cannot resume from it"));
  EXPECT_TRUE(equal(load_weights(folder_.path()), example(0)));
}

}  // namespace
}  // namespace pixelbert::checkpoint
