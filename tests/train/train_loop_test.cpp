// The loop on one rank, with an objective of two numbers whose steps can be followed by hand.
#include "train/train_loop.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "comm/solo_communicator.h"
#include "core/files.h"
#include "data/data_sets.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"
#include "train/replicas.h"

namespace pixelbert::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// The loss of a pair is w; its gradient is 1 for w and 0 for v. From step `broken_from` on the loss is NaN.
class Line final : public objectives::Objective {
 public:
  Line() : w(register_parameter("w", at::full({1}, 3.0))), v(register_parameter("v", at::zeros({1}))) {}

  const std::vector<std::string>& terms() const override { return terms_; }
  std::vector<std::int64_t> counts(const data::Batch& batch) const override { return {std::ssize(batch.pairs)}; }
  std::vector<objectives::LossTerm> losses(model::PixelBert&, const data::Batch& batch) override {
    const auto pairs = static_cast<double>(batch.pairs.size());
    pairs_of_batches.push_back(std::ssize(batch.pairs));
    random.push_back(at::rand({1}).item<float>());
    const double factor = batch.at.step >= broken_from ? NAN : 1;
    return {{.sum = ((w + 0 * v) * pairs * factor).sum(), .correct = at::full({}, 1.0f)}};
  }
  double flops(const model::PixelBertConfig&, const data::Batch&) const override { return 10; }

  torch::Tensor w, v;
  std::int64_t broken_from = 1000;
  std::vector<std::int64_t> pairs_of_batches;
  std::vector<float> random;  // drawn in each micro-batch

 private:
  std::vector<std::string> terms_ = {"line"};
};

class Kept final : public metrics::Sink {
 public:
  void record(const metrics::StepStats& stats) override { steps.push_back(stats); }
  std::vector<metrics::StepStats> steps;
};

// 10 images with a text each: steps of 4, 4 and 2 pairs, in micro-batches of 3.
class TrainLoopTest : public testing::Test {
 protected:
  TrainLoopTest() {
    std::vector<shards::Record> records;
    for (std::int64_t id = 0; id < 10; ++id) records.push_back(test::record_of(id, {8, 8}, 1));
    data_ = {test::write_shards(folder_.path() / "shards", records)};
    run_.model = named_tensors({line_.get()});
  }

  // Forgets the training so far.
  void begin_anew() {
    line_ = std::make_shared<Line>();
    run_ = checkpoint::Checkpoint();
    kept_.steps.clear();
    std::filesystem::remove_all(folder_.path() / "checkpoints");
  }

  // Continues the training from where it is, with parts of its own.
  Outcome run(const LoopConfig& config, const CheckpointConfig& saving = {},
              const optim::Schedule& schedule = {.base = 0.5, .drop_at_steps = {}}) {
    const images::ImageConfig image = {.short_side = 8, .long_side = 8};
    const data::SampleStream stream =
        data::make_stream(data_, {.global_batch = 4, .micro_batch = 3, .texts_per_image = 1}, config.seed, image);
    const text::WordPiece tokenizer(test::vocabulary());
    const test::PlainRows rows;
    const data::BatchMaker maker(data_, stream, tokenizer, {.image = image}, rows);
    data::BatchLoader loader(maker, {.threads = 1}, {}, {.begin = position_of(run_)});
    comm::GradientReducer reducer({line_->w, line_->v}, solo_, 1 << 20);
    optim::Group group;
    group.name = "transformer";
    const std::vector<std::string> names = {"w", "v"};
    group.parameters = own_pieces(names, {line_->w, line_->v}, reducer);
    group.algorithm = optim::Algorithm::Sgd;
    group.momentum = 0;
    group.schedule = schedule;
    optim::OptimizerGroups optimizer({group}, /*clip_norm=*/0);
    const OptimizerState state(names, {line_->w, line_->v}, reducer, optimizer, solo_);
    run_.model = named_tensors({line_.get()});
    Checkpointer checkpointer({.folder = folder_.path() / "checkpoints",
                               .writers = {0},
                               .communicator = std::make_shared<comm::SoloCommunicator>()},
                              saving, {}, solo_, solo_);
    Deadline deadline(folder_.path() / "deadline");
    TrainLoop loop({.model = model_,
                    .objective = *line_,
                    .stream = stream,
                    .loader = loader,
                    .reducer = reducer,
                    .optimizer = optimizer,
                    .optimizer_state = state,
                    .checkpointer = checkpointer,
                    .deadline = deadline,
                    .sinks = {&kept_},
                    .control = solo_,
                    .tensors = solo_,
                    .device = at::kCPU,
                    .peak_flops_per_second = 40,
                    .stop_file = folder_.path() / "stop"},
                   config);
    return loop.run(run_);
  }

  std::vector<std::int64_t> saved() const { return checkpoint::steps_in(folder_.path() / "checkpoints"); }

  test::TemporaryFolder folder_;
  comm::SoloCommunicator solo_;
  data::DataSets data_;
  model::PixelBert model_{model::PixelBertConfig{.backbone = "resnet18",
                                                 .batch_norm = model::NormMode::Frozen,
                                                 .frozen_stages = 5,
                                                 .vocabulary = 105,
                                                 .hidden = 8,
                                                 .layers = 1,
                                                 .heads = 1,
                                                 .positions = 8}};
  std::shared_ptr<Line> line_ = std::make_shared<Line>();
  checkpoint::Checkpoint run_;
  Kept kept_;
};

TEST_F(TrainLoopTest, MakesEachUpdateFromTheMeanOverTheGlobalBatch) {
  EXPECT_EQ(run({.steps = 4}), Outcome::Finished);
  EXPECT_THAT(line_->pairs_of_batches, ElementsAre(3, 1, 3, 1, 2, 3, 1));
  EXPECT_FLOAT_EQ(line_->w.item<float>(), 3 - 4 * 0.5f);  // the gradient of a mean of ones is 1, however it is cut
  EXPECT_EQ(line_->v.item<float>(), 0);
  ASSERT_EQ(kept_.steps.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    const metrics::StepStats& stats = kept_.steps[i];
    EXPECT_EQ(stats.step, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(stats.epoch, i < 3 ? 0 : 1);
    EXPECT_EQ(stats.step_samples, i == 2 ? 2 : 4);
    EXPECT_FLOAT_EQ(static_cast<float>(stats.loss), 3 - static_cast<float>(i) * 0.5f);
    EXPECT_DOUBLE_EQ(stats.gradient_norm, 1);
    EXPECT_EQ(stats.flops, i == 2 ? 10 : 20);  // of one micro-batch or two
    EXPECT_EQ(stats.peak_flops_per_second, 40);
    double seconds = 0;
    for (const double phase : stats.phase_seconds) seconds += phase;
    EXPECT_NEAR(seconds, stats.seconds, 1e-9);
  }
  EXPECT_EQ(run_.samples, 14);
  EXPECT_EQ(position_of(run_), (data::Position{1, 1}));
  EXPECT_THAT(saved(), ElementsAre(4));
}

TEST_F(TrainLoopTest, UpdatesAtTheRateOfTheStepInAll) {
  const optim::Schedule schedule = {.base = 0.5, .drop_at_steps = {4}, .drop_factor = 0.1};  // in the second epoch
  for (const bool resumed : {false, true}) {
    begin_anew();
    if (resumed) {
      EXPECT_EQ(run({.steps = 4}, {}, schedule), Outcome::Finished);
    }
    EXPECT_EQ(run({.steps = 6}, {}, schedule), Outcome::Finished);
    EXPECT_FLOAT_EQ(line_->w.item<float>(), 3 - 4 * 0.5f - 2 * 0.05f);
    ASSERT_EQ(kept_.steps.size(), 6u);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_DOUBLE_EQ(kept_.steps[i].learning_rate.at("transformer"), i < 4 ? 0.5 : 0.05) << "step " << i + 1;
    }
  }
}

TEST_F(TrainLoopTest, SeedsEachMicroBatchOfEachStepAnew) {
  run({.steps = 6});
  const std::vector<float> whole = line_->random;
  EXPECT_EQ(whole.size(), 10u);
  EXPECT_EQ(std::set<float>(whole.begin(), whole.end()).size(), whole.size());
  begin_anew();
  run({.steps = 3});
  run({.steps = 6});
  EXPECT_EQ(line_->random, whole);
  begin_anew();
  run({.steps = 1, .seed = 1});
  EXPECT_NE(line_->random[0], whole[0]);
}

TEST_F(TrainLoopTest, EndsAfterItsEpochsAndSavesWhenAsked) {
  EXPECT_EQ(run({.epochs = 2}, {.every_steps = 2, .keep = 2}), Outcome::Finished);
  EXPECT_EQ(run_.step, 6);
  EXPECT_THAT(saved(), ElementsAre(6, 4));
}

TEST_F(TrainLoopTest, StopsAfterTheStepAtWhichItIsAskedTo) {
  write_file(folder_.path() / "stop", "");
  EXPECT_EQ(run({.steps = 5}), Outcome::Stopped);
  EXPECT_THAT(saved(), ElementsAre(1));
}

TEST_F(TrainLoopTest, SkipsAStepThatIsNotFiniteAndNamesItsMicroBatch) {
  line_->broken_from = 2;  // the last step of each epoch
  EXPECT_EQ(run({.steps = 4}), Outcome::Finished);
  EXPECT_FLOAT_EQ(line_->w.item<float>(), 3 - 3 * 0.5f);
  EXPECT_EQ(kept_.steps[2].skipped, "not_finite");
  EXPECT_EQ(kept_.steps[3].skipped, "");
}

TEST_F(TrainLoopTest, GivesUpWhenTooManyStepsInARowAreNotFinite) {
  line_->broken_from = 0;
  EXPECT_THAT([&] { run({.steps = 5, .max_skipped_steps = 3}); },
              ThrowsMessage<SharedError>(testing::AllOf(HasSubstr("3 steps in a row were not finite"),
                                                        HasSubstr("the line loss of micro-batch 0 on rank 0"))));
  EXPECT_EQ(run_.step, 2);
  EXPECT_FLOAT_EQ(line_->w.item<float>(), 3);
}

TEST_F(TrainLoopTest, CountsSkippedStepsThroughAResume) {
  line_->broken_from = 0;
  EXPECT_EQ(run({.steps = 2, .max_skipped_steps = 3}), Outcome::Finished);
  EXPECT_EQ(checkpoint::describe(folder_.path() / "checkpoints").value().skipped_in_a_row, 2);
  EXPECT_THAT([&] { run({.steps = 5, .max_skipped_steps = 3}); },
              ThrowsMessage<SharedError>(HasSubstr("3 steps in a row were not finite")));
  EXPECT_EQ(run_.step, 2);
}

TEST_F(TrainLoopTest, CountsOnlySkippedStepsInARow) {
  line_->broken_from = 2;  // the last step of each epoch
  EXPECT_EQ(run({.steps = 6, .max_skipped_steps = 2}), Outcome::Finished);
  EXPECT_EQ(run_.skipped_in_a_row, 1);
}

}  // namespace
}  // namespace pixelbert::train
