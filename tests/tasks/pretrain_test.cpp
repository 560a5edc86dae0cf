#include "tasks/pretrain.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <set>

#include "tests/support/tensor_matchers.h"
#include "tests/tasks/small_config.h"

namespace pixelbert::tasks {
namespace {

using ::testing::ElementsAre;

struct Fixture {
  explicit Fixture(const model::PixelBertConfig& config = small_config())
      : model(config), pretrain(std::make_shared<PretrainObjective>(config)) {}
  model::PixelBert model;
  std::shared_ptr<PretrainObjective> pretrain;
};

data::Batch small_batch(std::int64_t pairs) {
  data::Batch batch;
  batch.images = at::randn({pairs, 3, 64, 128});
  batch.image_sizes = at::tensor({64, 128}, at::kLong).repeat({pairs, 1});
  batch.image_of_row = at::arange(pairs);
  batch.tokens = at::randint(1, 50, {pairs, 6}, at::kLong);
  batch.token_mask = at::ones({pairs, 6}, at::kBool);
  batch.mlm_positions = at::arange(pairs) * 6 + 2;
  batch.mlm_labels = at::randint(1, 50, {pairs}, at::kLong);
  batch.itm_labels = at::arange(pairs).remainder(2).to(at::kFloat);
  return batch;
}

// Pair `first` and `count` - 1 more.
data::Batch part(const data::Batch& batch, std::int64_t first, std::int64_t count) {
  data::Batch piece = batch;
  for (auto* tensor :
       {&piece.images, &piece.image_sizes, &piece.tokens, &piece.token_mask, &piece.mlm_labels, &piece.itm_labels}) {
    *tensor = tensor->narrow(0, first, count);
  }
  piece.image_of_row = at::arange(count);
  piece.mlm_positions = batch.mlm_positions.narrow(0, first, count) - 6 * first;
  return piece;
}

TEST(Pretrain, NamesAreTransformersOnes) {
  const auto pretrain = std::make_shared<PretrainObjective>(small_config());
  const auto keys = pretrain->named_parameters().keys();
  EXPECT_EQ(
      std::set<std::string>(keys.begin(), keys.end()),
      (std::set<std::string>{"cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
                             "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias",
                             "cls.predictions.bias", "itm.weight", "itm.bias"}));
  EXPECT_EQ(pretrain->named_parameters()["itm.weight"].sizes(), (torch::IntArrayRef{1, 32}));
}

TEST(Pretrain, CountsMaskedTokensAndPairs) {
  const auto pretrain = std::make_shared<PretrainObjective>(small_config());
  EXPECT_THAT(pretrain->terms(), ElementsAre("mlm", "itm"));
  data::Batch batch = small_batch(3);
  batch.mlm_positions = at::arange(5);
  EXPECT_THAT(pretrain->counts(batch), ElementsAre(5, 3));
}

TEST(Pretrain, OneTaskAloneHasItsTermAndItsHeadOnly) {
  at::manual_seed(4);
  const data::Batch batch = small_batch(3);
  for (const bool mlm : {true, false}) {
    model::PixelBert model(small_config());
    const auto pretrain = std::make_shared<PretrainObjective>(small_config(), mlm, !mlm);
    EXPECT_THAT(pretrain->terms(), ElementsAre(mlm ? "mlm" : "itm"));
    EXPECT_EQ(pretrain->counts(batch).size(), 1u);
    EXPECT_EQ(pretrain->losses(model, batch).size(), 1u);
    for (const std::string& name : pretrain->named_parameters().keys())
      EXPECT_TRUE(name.starts_with(mlm ? "cls." : "itm."));
  }
}

TEST(Pretrain, LossesAreSumsOverTheirLogits) {
  at::manual_seed(1);
  Fixture f;
  const data::Batch batch = small_batch(4);
  const auto losses = f.pretrain->losses(f.model, batch);

  const model::Encoded encoded = f.model->forward(objectives::inputs_of(batch));
  const torch::Tensor words = f.pretrain->mlm_logits(encoded, batch.mlm_positions);
  EXPECT_EQ(words.sizes(), (torch::IntArrayRef{4, 50}));
  const torch::Tensor chosen = words.log_softmax(1).gather(1, batch.mlm_labels.unsqueeze(1));
  EXPECT_LT(test::relative_difference(losses[0].sum, -chosen.sum()), 1e-5);
  EXPECT_EQ(losses[0].correct.item<float>(), words.argmax(1).eq(batch.mlm_labels).sum().item<float>());

  const torch::Tensor score = f.pretrain->itm_logits(encoded).sigmoid();
  const torch::Tensor likelihood = at::where(batch.itm_labels > 0.5, score, 1 - score);
  EXPECT_LT(test::relative_difference(losses[1].sum, -likelihood.log().sum()), 1e-5);
  EXPECT_EQ(losses[1].correct.item<float>(), likelihood.gt(0.5).sum().item<float>());
}

TEST(Pretrain, SumsAndGradientsDoNotDependOnHowTheBatchIsCut) {
  at::manual_seed(2);
  Fixture f;
  const data::Batch batch = small_batch(5);
  const auto whole = f.pretrain->losses(f.model, batch);
  (whole[0].sum + whole[1].sum).backward();
  const torch::Tensor weight = f.model->named_parameters()["bert.embeddings.word_embeddings.weight"];
  const torch::Tensor gradient = std::exchange(weight.mutable_grad(), {});

  double mlm = 0, itm = 0;
  for (const auto& [first, count] : {std::pair{0, 1}, {1, 3}, {4, 1}}) {
    const auto losses = f.pretrain->losses(f.model, part(batch, first, count));
    (losses[0].sum + losses[1].sum).backward();
    mlm += losses[0].sum.item<double>();
    itm += losses[1].sum.item<double>();
  }
  EXPECT_NEAR(mlm, whole[0].sum.item<double>(), 1e-4 * mlm);
  EXPECT_NEAR(itm, whole[1].sum.item<double>(), 1e-4 * itm);
  EXPECT_LT(test::relative_difference(weight.grad(), gradient), 1e-4);
}

TEST(Pretrain, ABatchOfMlmAloneHasAMatchingLossOfZeroThatReachesEveryParameter) {
  Fixture f;
  data::Batch batch = small_batch(2);
  batch.itm_labels = at::empty({0});
  EXPECT_THAT(f.pretrain->counts(batch), ElementsAre(2, 0));
  const auto losses = f.pretrain->losses(f.model, batch);
  EXPECT_EQ(losses[1].sum.item<float>(), 0);
  EXPECT_EQ(losses[1].correct.item<float>(), 0);
  (losses[0].sum + losses[1].sum).backward();
  for (const auto& item : f.pretrain->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_EQ(item.value().grad().norm().item<double>() == 0, item.key().starts_with("itm.")) << item.key();
  }
}

TEST(Pretrain, ABatchWithoutMaskedTokensHasALossOfZeroThatReachesEveryParameter) {
  Fixture f;
  data::Batch batch = small_batch(2);
  batch.mlm_positions = at::empty({0}, at::kLong);
  batch.mlm_labels = at::empty({0}, at::kLong);
  const auto losses = f.pretrain->losses(f.model, batch);
  EXPECT_EQ(losses[0].sum.item<float>(), 0);
  EXPECT_EQ(losses[0].correct.item<float>(), 0);
  (losses[0].sum + losses[1].sum).backward();
  for (const auto& item : f.pretrain->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    const double norm = item.value().grad().norm().item<double>();
    EXPECT_EQ(norm > 0, item.key().starts_with("itm.")) << item.key();
  }
  for (const auto& item : f.model->named_parameters()) {
    if (item.value().requires_grad()) {
      EXPECT_TRUE(item.value().grad().defined()) << item.key();
    }
  }
}

TEST(Pretrain, TakesABatchOfOnePair) {
  Fixture f;
  const auto losses = f.pretrain->losses(f.model, small_batch(1));
  EXPECT_TRUE(losses[0].sum.isfinite().item<bool>());
  EXPECT_EQ(losses[1].sum.dim(), 0);
  (losses[0].sum + losses[1].sum).backward();
}

TEST(Pretrain, OnlyTheLabelsDecideWhatIsRight) {
  at::manual_seed(3);
  Fixture f;
  data::Batch batch = small_batch(4);
  const auto before = f.pretrain->losses(f.model, batch);
  batch.itm_labels = 1 - batch.itm_labels;
  const auto after = f.pretrain->losses(f.model, batch);
  EXPECT_EQ(before[1].correct.item<float>() + after[1].correct.item<float>(), 4);
  EXPECT_TRUE(before[0].sum.equal(after[0].sum));
}

}  // namespace
}  // namespace pixelbert::tasks
