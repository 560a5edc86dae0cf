#include "evaluation/pair_scores.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "comm/solo_communicator.h"
#include "core/activity.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::evaluation {
namespace {

// Is never asked for a loss.
class NoObjective final : public objectives::Objective {
 public:
  const std::vector<std::string>& terms() const override { return terms_; }
  std::vector<std::int64_t> counts(const data::Batch&) const override { return {}; }
  std::vector<objectives::LossTerm> losses(model::PixelBert&, const data::Batch&) override { return {}; }

 private:
  std::vector<std::string> terms_;
};

model::PixelBert small_model(std::int64_t vocabulary) {
  model::PixelBert model(model::PixelBertConfig{.backbone = "resnet18",
                                                .visual_order = model::VisualOrder::Conv,
                                                .vocabulary = vocabulary,
                                                .hidden = 32,
                                                .layers = 1,
                                                .heads = 1});
  model->eval();
  return model;
}

TEST(AllPairs, TakesTheFirstTextsOfEachImageAndLeavesOutImagesWithoutOne) {
  const test::TemporaryFolder folder;
  std::vector<shards::Record> records;
  for (const std::int64_t texts : {2, 0, 4, 3, 1}) {
    records.push_back(test::record_of(std::ssize(records), {8, 8}, texts));
  }
  const Pairs pairs = all_pairs(*test::write_shards(folder.path() / "shards", records), 3);
  EXPECT_THAT(pairs.images, testing::ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(pairs.texts, testing::ElementsAre(0, 1, 2, 3, 4, 6, 7, 8, 9));
  EXPECT_THAT(pairs.image_of_text, testing::ElementsAre(0, 0, 1, 1, 1, 2, 2, 2, 3));
}

using Score = std::function<torch::Tensor(const model::Encoded&)>;
using Take = std::function<void(std::int64_t, const torch::Tensor&)>;

class ScorePairs : public testing::Test {
 protected:
  // What is evaluated, with a square image unless a test says otherwise.
  Evaluation evaluation(const std::vector<shards::Record>& records) {
    data_ = {test::write_shards(folder_.path() / "shards", records)};
    return {.data = data_,
            .tokenizer = tokenizer_,
            .model = model_,
            .objective = objective_,
            .image = {.short_side = 40, .long_side = 40},
            .control = alone_};
  }

  void score(const Evaluation& evaluation, const Score& score, const Take& take = [](auto&&...) {}) {
    score_pairs(evaluation, all_pairs(*data_[0], 3), score, take);
  }

  test::TemporaryFolder folder_;
  data::DataSets data_;
  text::WordPiece tokenizer_{test::vocabulary()};
  model::PixelBert model_ = small_model(tokenizer_.vocabulary().size());
  NoObjective objective_;
  comm::SoloCommunicator alone_;
};

TEST_F(ScorePairs, ABadImageIsNamed) {
  std::vector<shards::Record> records = {test::record_of(41, {24, 24}, 1)};
  records[0].images[0].encoded.resize(60);
  const Evaluation broken = evaluation(records);
  EXPECT_THAT([&] { score(broken, [](const model::Encoded& encoded) { return encoded.hidden; }); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("image 41 of " + (folder_.path() / "shards").string() +
                                                               " cannot be used: a PNG cut short")));
}

TEST_F(ScorePairs, AnImageIsPaddedAsInTraining) {
  Evaluation padded = evaluation({test::record_of(41, {40, 70}, 1)});
  padded.image = {.short_side = 40, .long_side = 70, .size_multiple = 128};
  model::Encoded found;
  score(padded, [&](const model::Encoded& encoded) {
    found = encoded;
    return encoded.hidden.sum({1, 2});
  });

  model::Inputs inputs;
  inputs.images = at::zeros({1, 3, 128, 128}).contiguous(at::MemoryFormat::ChannelsLast);
  inputs.images.narrow(2, 0, 40).narrow(3, 0, 70).copy_(
      images::load(data_[0]->image(0), {.short_side = 40, .long_side = 70}));
  inputs.image_sizes = at::tensor({40, 70}, at::kLong).view({1, 2});
  inputs.image_of_row = at::zeros({1}, at::kLong);
  const std::vector<std::int64_t> ids = tokenizer_.encode(data_[0]->text(0), text::TextConfig().max_tokens);
  inputs.tokens = at::tensor(ids).unsqueeze(0);
  inputs.token_mask = at::ones({1, std::ssize(ids)}, at::kBool);
  inputs.wanted = model::Wanted::Pair;
  const torch::NoGradGuard no_grad;
  EXPECT_EQ(found.mask.size(1), std::ssize(ids) + 2 * 3);  // only the pixels of the image itself
  EXPECT_LT((found.hidden - model_->forward(inputs).hidden).abs().max().item<float>(), 1e-5);
}

// An image with all texts may take longer than --watchdog.seconds.
TEST_F(ScorePairs, EveryMicroBatchOfTextsIsProgress) {
  Evaluation by_two = evaluation({test::record_of(41, {40, 40}, 3)});
  by_two.micro_batch = 2;
  std::vector<std::string> doings;
  score(by_two, [&](const model::Encoded& encoded) {
    doings.push_back(activity::all()[0].doing);
    return encoded.hidden.sum({1, 2});
  });
  EXPECT_THAT(doings, testing::ElementsAre("image 1 of 1, text 1 of 3", "image 1 of 1, text 3 of 3"));
}

TEST_F(ScorePairs, BlankImagesScoreAllAlike) {
  Evaluation some = evaluation({test::record_of(1, {40, 40}, 1), test::record_of(200, {40, 40}, 2)});
  for (const bool blank : {false, true}) {
    some.blank_images = blank;
    std::vector<torch::Tensor> rows(2);
    score(
        some, [](const model::Encoded& encoded) { return encoded.pair().select(1, 0); },
        [&rows](std::int64_t image, const torch::Tensor& scores) { rows[static_cast<std::size_t>(image)] = scores; });
    ASSERT_EQ(rows[0].numel(), 3);
    EXPECT_EQ(rows[0].equal(rows[1]), blank);
  }
}

}  // namespace
}  // namespace pixelbert::evaluation
