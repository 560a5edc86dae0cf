#include "train/checkpointer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "checkpoint/manifest.h"
#include "comm/solo_communicator.h"
#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"
#include "train/replicas.h"

namespace pixelbert::train {
namespace {

using checkpoint::Checkpoint;
using testing::HasSubstr;
using testing::ThrowsMessage;

class CheckpointerTest : public testing::Test {
 protected:
  BackgroundSave::Target target() const {
    return {.folder = folder_.path(), .writers = {0}, .communicator = std::make_shared<comm::SoloCommunicator>()};
  }
  Checkpointer make() { return {target(), {.keep = 2}, {"train.steps"}, solo_, solo_}; }

  static Checkpoint run(double value) {
    Checkpoint run;
    run.step = 7;
    run.samples = 224;
    run.epoch = 1;
    run.step_in_epoch = 3;
    run.config = {{"model.layers", "3"}, {"train.steps", "10"}};
    run.data = {"scenes 1 image"};
    run.answers = {"yes"};
    run.vocabulary = "[PAD]\n";
    run.model = {{"a", at::full({2, 3}, value)}};
    run.optimizer = {{"a.momentum", at::full({2, 3}, -value)}};
    return run;
  }

  void save(Checkpoint& saved) {
    Checkpointer checkpointer = make();
    checkpointer.begin(saved, held_by_all(saved.optimizer));
    checkpointer.finish(saved);
  }

  void save(double value) {
    Checkpoint saved = run(value);
    save(saved);
  }

  test::TemporaryFolder folder_;
  comm::SoloCommunicator solo_;
};

TEST_F(CheckpointerTest, RestoresWhatItSaved) {
  Checkpoint saved = run(2);
  saved.metrics_line = R"({"step":7})";
  saved.save_seconds = 2.5;
  saved.skipped_in_a_row = 5;
  saved.world_sizes = {{.until_step = 4, .ranks = 2}};
  save(saved);
  Checkpoint restored = run(0);
  restored.step = restored.samples = restored.epoch = restored.step_in_epoch = 0;
  EXPECT_TRUE(make().restore_latest(restored));
  EXPECT_EQ(restored.step, 7);
  EXPECT_EQ(restored.samples, 224);
  EXPECT_EQ(restored.epoch, 1);
  EXPECT_EQ(restored.step_in_epoch, 3);
  EXPECT_EQ(restored.metrics_line, R"({"step":7})");
  EXPECT_EQ(restored.save_seconds, 2.5);  // the longest before it
  EXPECT_EQ(restored.skipped_in_a_row, 5);
  EXPECT_EQ(restored.world_sizes, (std::vector<checkpoint::WorldSize>{{4, 2}, {7, 1}}));
  EXPECT_TRUE(restored.model.at("a").equal(at::full({2, 3}, 2.0)));
  EXPECT_TRUE(restored.optimizer.at("a.momentum").equal(at::full({2, 3}, -2.0)));
}

TEST_F(CheckpointerTest, SaysWhatItWasTrainedForAndRefusesAnotherTask) {
  Checkpoint vqa = run(1);
  vqa.task = "vqa";
  save(vqa);
  const std::optional<checkpoint::Weights> saved =
      read_on_rank_0<checkpoint::Weights>(folder_.path(), solo_, checkpoint::load_weights);
  EXPECT_EQ(saved->task, "vqa");
  EXPECT_EQ(saved->answers, (std::vector<std::string>{"yes"}));
  Checkpoint other = run(0);
  EXPECT_THAT([&] { make().restore_latest(other); },
              ThrowsMessage<UsageError>(HasSubstr("it is a vqa run, this is pretrain")));
}

TEST_F(CheckpointerTest, HasNothingToRestoreInANewFolder) {
  Checkpoint fresh = run(1);
  EXPECT_FALSE(make().restore_latest(fresh));
  EXPECT_TRUE(fresh.model.at("a").equal(at::full({2, 3}, 1.0)));
}

TEST_F(CheckpointerTest, RefusesAnOptionThatDecidesWhatIsLearned) {
  save(2);
  Checkpoint restored = run(0);
  restored.config["model.layers"] = "4";
  EXPECT_THAT([&] { make().restore_latest(restored); },
              ThrowsMessage<UsageError>(HasSubstr("trained with --model.layers '3', now it is '4'")));
}

TEST_F(CheckpointerTest, AcceptsAnOptionThatDoesNot) {
  save(2);
  Checkpoint restored = run(0);
  restored.config["train.steps"] = "99";
  EXPECT_TRUE(make().restore_latest(restored));
  EXPECT_EQ(restored.config["train.steps"], "99");
}

TEST_F(CheckpointerTest, RefusesOtherData) {
  save(2);
  Checkpoint restored = run(0);
  restored.data = {"scenes 2 images"};
  EXPECT_THAT([&] { make().restore_latest(restored); }, ThrowsMessage<UsageError>(HasSubstr("other data")));
}

TEST_F(CheckpointerTest, DoesNotSaveWeightsThatAreNotFinite) {
  save(2);
  Checkpoint broken = run(NAN);
  broken.step = 8;
  EXPECT_THAT([&] { save(broken); }, ThrowsMessage<SharedError>(testing::AllOf(
                                         HasSubstr("step 8: tensor 'a' holds values that are not finite"),
                                         HasSubstr("older checkpoints are untouched"))));
  EXPECT_THAT(checkpoint::steps_in(folder_.path()), testing::ElementsAre(7));
}

TEST_F(CheckpointerTest, ContinuesAfterASaveThatFailed) {
  BackgroundSave::Target blocked = target();
  blocked.folder = folder_.path() / "checkpoints";
  write_file(blocked.folder, "in the way");
  Checkpointer checkpointer(blocked, {.keep = 2}, {}, solo_, solo_);
  Checkpoint saved = run(2);
  checkpointer.begin(saved, held_by_all(saved.optimizer));
  while (!checkpointer.take_seconds().empty()) FAIL() << "a save that failed has no seconds";
  checkpointer.begin(saved, held_by_all(saved.optimizer));  // waits for the first
  EXPECT_THAT([&] { checkpointer.finish(saved); },
              ThrowsMessage<SharedError>(testing::AllOf(HasSubstr("cannot save the checkpoint of step 7"),
                                                        HasSubstr("older checkpoints are untouched"))));
  std::filesystem::remove(blocked.folder);
  checkpointer.begin(saved, held_by_all(saved.optimizer));
  checkpointer.finish(saved);
  EXPECT_EQ(checkpointer.take_seconds().size(), 1u);
  EXPECT_THAT(checkpoint::steps_in(blocked.folder), testing::ElementsAre(7));
}

TEST_F(CheckpointerTest, NoticesTheEndOfASave) {
  Checkpointer checkpointer = make();
  Checkpoint saved = run(2);
  EXPECT_TRUE(checkpointer.notice_end(saved));
  checkpointer.begin(saved, held_by_all(saved.optimizer));
  std::vector<double> seconds;
  while (seconds.empty()) {
    EXPECT_TRUE(checkpointer.notice_end(saved));
    seconds = checkpointer.take_seconds();
  }
  EXPECT_EQ(saved.save_seconds, seconds[0]);

  Checkpoint broken = run(NAN);
  checkpointer.begin(broken, held_by_all(broken.optimizer));
  while (checkpointer.notice_end(broken)) {
  }
  EXPECT_THROW(checkpointer.finish(broken), SharedError);
}

TEST_F(CheckpointerTest, DoesNotStartAgainWhereTheCheckpointsAreOutOfReach) {
  save(2);
  Checkpoint restored = run(0);
  std::filesystem::remove_all(folder_.path() / checkpoint::step_name(7));
  EXPECT_THAT([&] { make().restore_latest(restored); },
              ThrowsMessage<Error>(HasSubstr("latest shows that checkpoints were saved")));
  EXPECT_THAT([&] { checkpoint::describe(folder_.path()); }, ThrowsMessage<Error>(HasSubstr("latest shows")));
}

TEST_F(CheckpointerTest, NamesATensorOfAnotherShape) {
  save(2);
  Checkpoint other = run(0);
  other.model["a"] = at::zeros({3, 3});
  EXPECT_THAT([&] { make().restore_latest(other); },
              ThrowsMessage<Error>(HasSubstr("'a' is [2, 3], this model needs [3, 3]")));
  other.model = {{"b", at::zeros({2, 3})}};
  EXPECT_THAT([&] { make().restore_latest(other); }, ThrowsMessage<Error>(HasSubstr("no tensor 'b'")));
}

TEST_F(CheckpointerTest, IsDueAfterEachSoManyStepsOrMinutes) {
  const auto due = [&](const CheckpointConfig& config, std::int64_t step) {
    return Checkpointer(target(), config, {}, solo_, solo_).due(step);
  };
  EXPECT_TRUE(due({.every_steps = 5}, 10));
  EXPECT_FALSE(due({.every_steps = 5}, 11));
  EXPECT_FALSE(due({.every_steps = 0}, 10));
  EXPECT_TRUE(due({.every_steps = 0, .every_minutes = 1e-300}, 1));
  EXPECT_FALSE(due({.every_steps = 0, .every_minutes = 1e6}, 1));
}

}  // namespace
}  // namespace pixelbert::train
