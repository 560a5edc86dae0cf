#include "train/checkpointer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "checkpoint/manifest.h"
#include "comm/solo_communicator.h"
#include "core/check.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::train {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

class CheckpointerTest : public testing::Test {
 protected:
  Checkpointer make(std::map<std::string, std::string> config = {{"model.layers", "3"}, {"train.steps", "10"}},
                    std::vector<std::string> data = {"scenes 1 image"}) {
    return {folder_.path(),
            2,
            {.config = std::move(config),
             .data_identity = std::move(data),
             .vocabulary = "[PAD]\n",
             .code_version = "0.1.0",
             .task = task_,
             .answers = {"yes"},
             .initial = {}},
            solo_,
            solo_};
  }
  static State state(double value) {
    State state;
    state.step = 7;
    state.samples = 224;
    state.at = {1, 3};
    state.model = {{"a", at::full({2, 3}, value)}};
    state.optimizer = {{"a.momentum", at::full({2, 3}, -value)}};
    return state;
  }

  std::string task_ = "pretrain";
  test::TemporaryFolder folder_;
  comm::SoloCommunicator solo_;
};

TEST_F(CheckpointerTest, RestoresWhatItSaved) {
  make().save(state(2));
  State restored = state(0);
  restored.step = 0;
  EXPECT_TRUE(make().restore_latest(restored));
  EXPECT_EQ(restored.step, 7);
  EXPECT_EQ(restored.samples, 224);
  EXPECT_EQ(restored.at, (data::Position{1, 3}));
  EXPECT_TRUE(restored.model.at("a").equal(at::full({2, 3}, 2.0)));
  EXPECT_TRUE(restored.optimizer.at("a.momentum").equal(at::full({2, 3}, -2.0)));
}

TEST_F(CheckpointerTest, SaysWhatItWasTrainedForAndRefusesAnotherTask) {
  task_ = "vqa";
  make().save(state(1));
  const auto saved = read_model(folder_.path(), solo_);
  EXPECT_EQ(saved.trainer["task"], "vqa");
  EXPECT_EQ(saved.trainer["answers"], (std::vector<std::string>{"yes"}));
  task_ = "pretrain";
  State other = state(0);
  EXPECT_THAT([&] { make().restore_latest(other); },
              ThrowsMessage<UsageError>(HasSubstr("it is a vqa run, this is pretrain")));
}

TEST_F(CheckpointerTest, HasNothingToRestoreInANewFolder) {
  State fresh = state(1);
  EXPECT_FALSE(make().restore_latest(fresh));
  EXPECT_TRUE(fresh.model.at("a").equal(at::full({2, 3}, 1.0)));
}

TEST_F(CheckpointerTest, RefusesAnOptionThatDecidesWhatIsLearned) {
  make().save(state(2));
  State restored = state(0);
  EXPECT_THAT(([&] { make({{"model.layers", "4"}, {"train.steps", "10"}}).restore_latest(restored); }),
              ThrowsMessage<UsageError>(HasSubstr("trained with --model.layers 3, now it is 4")));
}

TEST_F(CheckpointerTest, AcceptsAnOptionThatDoesNot) {
  make().save(state(2));
  State restored = state(0);
  EXPECT_TRUE(make({{"model.layers", "3"}, {"train.steps", "99"}}).restore_latest(restored));
}

TEST_F(CheckpointerTest, RefusesOtherData) {
  make().save(state(2));
  State restored = state(0);
  EXPECT_THAT(([&] { make({{"model.layers", "3"}}, {"scenes 2 images"}).restore_latest(restored); }),
              ThrowsMessage<UsageError>(HasSubstr("other data")));
}

TEST_F(CheckpointerTest, DoesNotSaveWeightsThatAreNotFinite) {
  make().save(state(2));
  State broken = state(NAN);
  broken.step = 8;
  EXPECT_THAT([&] { make().save(broken); }, ThrowsMessage<SharedError>(testing::AllOf(
                                                HasSubstr("step 8: tensor 'a' holds values that are not finite"),
                                                HasSubstr("older checkpoints are untouched"))));
  EXPECT_THAT(checkpoint::steps_in(folder_.path()), testing::ElementsAre(7));
}

TEST_F(CheckpointerTest, DoesNotBeginAnewWhereTheCheckpointsAreOutOfReach) {
  make().save(state(2));
  State restored = state(0);
  std::filesystem::remove_all(folder_.path() / checkpoint::step_name(7));
  EXPECT_THAT([&] { make().restore_latest(restored); },
              ThrowsMessage<Error>(HasSubstr("latest shows that checkpoints were saved")));
  EXPECT_THAT([&] { describe_newest(folder_.path(), solo_); }, ThrowsMessage<Error>(HasSubstr("latest shows")));
}

TEST_F(CheckpointerTest, NamesATensorOfAnotherShape) {
  make().save(state(2));
  State other = state(0);
  other.model["a"] = at::zeros({3, 3});
  EXPECT_THAT([&] { make().restore_latest(other); },
              ThrowsMessage<Error>(HasSubstr("'a' is [2, 3], this model needs [3, 3]")));
  other.model = {{"b", at::zeros({2, 3})}};
  EXPECT_THAT([&] { make().restore_latest(other); }, ThrowsMessage<Error>(HasSubstr("no tensor 'b'")));
}

}  // namespace
}  // namespace pixelbert::train
