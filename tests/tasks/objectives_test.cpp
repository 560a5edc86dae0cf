// VQA, NLVR2 and retrieval: their logits, sums and gradients against the definitions.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/autocast.h"
#include "objectives/heads.h"
#include "tasks/nlvr2.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"
#include "tests/support/tensor_matchers.h"
#include "tests/tasks/small_config.h"

namespace pixelbert::tasks {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

// `rows` texts with `images` images, in turn.
data::Batch make_batch(std::int64_t images, std::int64_t rows, std::int64_t samples) {
  data::Batch batch;
  batch.images = at::randn({images, 3, 64, 96});
  batch.image_sizes = at::tensor({64, 96}, at::kLong).repeat({images, 1});
  batch.image_of_row = at::arange(rows).mul(images).div(rows, "floor");
  batch.tokens = at::randint(1, 50, {rows, 6}, at::kLong);
  batch.token_mask = at::ones({rows, 6}, at::kBool);
  batch.pairs.resize(static_cast<std::size_t>(samples));
  return batch;
}

// In bfloat16 many of thousands of scores would be equal.
TEST(Heads, GiveScoresInFloat32WhateverThePrecision) {
  at::manual_seed(3);
  const at::NoGradGuard no_grad;
  objectives::ScoreHead score(32);
  objectives::ClassHead classes(32, 64, 5, 0.0);
  const at::Tensor pair = at::randn({400, 32});
  const at::Tensor exact = score->forward(pair);
  const model::Autocast bf16(at::kCPU, model::Precision::Bf16);
  EXPECT_TRUE(score->forward(pair).equal(exact));
  const at::Tensor logits = classes->forward(pair);
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  EXPECT_FALSE(logits.equal(logits.to(at::kBFloat16).to(at::kFloat)));
}

TEST(Vqa, IsBinaryCrossEntropySummedOverAnswersWithTheScoreOfTheAnswerGiven) {
  at::manual_seed(1);
  model::PixelBert model(small_config());
  const auto vqa = std::make_shared<VqaObjective>(32, 7, 0.0);
  EXPECT_THAT(vqa->named_parameters().keys(), UnorderedElementsAre("vqa.dense.weight", "vqa.dense.bias",
                                                                   "vqa.classifier.weight", "vqa.classifier.bias"));
  EXPECT_EQ(vqa->named_parameters()["vqa.dense.weight"].sizes(), (torch::IntArrayRef{128, 32}));
  data::Batch batch = make_batch(3, 3, 3);
  batch.answer_scores = at::rand({3, 7});
  EXPECT_THAT(vqa->terms(), ElementsAre("vqa"));
  EXPECT_THAT(vqa->counts(batch), ElementsAre(3));

  const auto losses = vqa->losses(model, batch);
  const torch::Tensor logits = vqa->logits(model->forward(objectives::inputs_of(batch)));
  const torch::Tensor p = logits.sigmoid(), y = batch.answer_scores;
  EXPECT_LT(test::relative_difference(losses[0].sum, -(y * p.log() + (1 - y) * (1 - p).log()).sum()), 1e-5);
  float given = 0;
  for (std::int64_t i = 0; i < 3; ++i) given += y[i][logits[i].argmax().item<std::int64_t>()].item<float>();
  EXPECT_FLOAT_EQ(losses[0].correct.item<float>(), given);
}

TEST(Nlvr2, ClassifiesTheTwoClsVectorsOfAStatementTogether) {
  at::manual_seed(2);
  model::PixelBert model(small_config());
  const auto nlvr2 = std::make_shared<Nlvr2Objective>(32, 0.0);
  EXPECT_EQ(nlvr2->named_parameters()["nlvr2.dense.weight"].sizes(), (torch::IntArrayRef{64, 64}));
  data::Batch batch = make_batch(6, 6, 3);
  batch.labels = at::tensor({1, 0, 1}, at::kLong);
  EXPECT_THAT(nlvr2->counts(batch), ElementsAre(3));

  const torch::Tensor cls = model->forward(objectives::inputs_of(batch)).pair();
  const auto weights = nlvr2->named_parameters();
  const torch::Tensor both = at::cat({cls.slice(0, 0, 6, 2), cls.slice(0, 1, 6, 2)}, 1);  // left ++ right
  const torch::Tensor inner = at::linear(both, weights["nlvr2.dense.weight"], weights["nlvr2.dense.bias"]).relu();
  const torch::Tensor logits = at::linear(inner, weights["nlvr2.classifier.weight"], weights["nlvr2.classifier.bias"]);
  const auto losses = nlvr2->losses(model, batch);
  const torch::Tensor likelihood = logits.log_softmax(1).gather(1, batch.labels.unsqueeze(1));
  EXPECT_LT(test::relative_difference(losses[0].sum, -likelihood.sum()), 1e-5);
  EXPECT_EQ(losses[0].correct.item<float>(), logits.argmax(1).eq(batch.labels).sum().item<float>());
}

// The same with one forward pass over everything: gradients only through the own text and the two hardest negatives.
TEST(Retrieval, EqualsForwardOfAllTextsWithGradientThroughTheHardestOnly) {
  at::manual_seed(3);
  model::PixelBert model(small_config());
  const auto retrieval = std::make_shared<RetrievalObjective>(32, 2);
  const std::int64_t pairs = 3, texts = 5;
  data::Batch batch = make_batch(2, pairs * texts, pairs);
  batch.image_of_row = at::tensor({0, 0, 1}, at::kLong).repeat_interleave(texts);  // a pair's rows have one image
  EXPECT_THAT(retrieval->counts(batch), ElementsAre(3));
  const auto losses = retrieval->losses(model, batch);
  losses[0].sum.backward();
  std::map<std::string, torch::Tensor> gradients;
  for (auto& item : model->named_parameters()) {
    if (item.value().requires_grad()) gradients[item.key()] = std::exchange(item.value().mutable_grad(), {});
  }

  const torch::Tensor all = retrieval->scores(model->forward(objectives::inputs_of(batch))).view({pairs, texts});
  const torch::Tensor negatives = all.narrow(1, 1, texts - 1);
  const torch::Tensor hardest = std::get<0>(negatives.topk(2, 1));
  const torch::Tensor kept = at::cat({all.narrow(1, 0, 1), hardest}, 1);
  const torch::Tensor expected = -kept.log_softmax(1).select(1, 0).sum();
  expected.backward();
  EXPECT_LT(test::relative_difference(losses[0].sum, expected), 1e-5);
  EXPECT_EQ(losses[0].correct.item<float>(), all.select(1, 0).gt(negatives.amax(1)).sum().item<float>());
  for (auto& item : model->named_parameters()) {
    // Those gradients are 0 except for rounding: the last layer's output.LayerNorm.bias shifts all scores alike.
    if (item.key().ends_with("key.bias") || item.key().ends_with("layer.0.output.LayerNorm.bias")) continue;
    if (!item.value().requires_grad()) continue;
    EXPECT_LT(test::relative_difference(gradients[item.key()], item.value().grad()), 1e-3) << item.key();
  }
}

// It encodes twice, first without gradients, and autocast keeps the weights' casts.
TEST(Retrieval, HasAllGradientsInBfloat16) {
  at::manual_seed(4);
  model::PixelBert model(small_config());
  const auto retrieval = std::make_shared<RetrievalObjective>(32, 2);
  {
    const model::Autocast autocast(at::kCPU, model::Precision::Bf16);
    retrieval->losses(model, make_batch(3, 15, 3))[0].sum.backward();
  }
  for (const auto& [name, weight] : model->transformer_parameters()) {
    if (!name.starts_with("bert.encoder")) continue;
    ASSERT_TRUE(weight.grad().defined()) << name;
    EXPECT_GT(weight.grad().abs().sum().item<float>(), 0) << name;
  }
}

TEST(Retrieval, CountsTheScoringAndWhatIsLearnedFrom) {
  const model::PixelBertConfig config = small_config();
  const data::Batch batch = make_batch(2, 10, 2);  // 5 texts per pair, of which 1 + 2 are trained on
  const model::ForwardFlops all = model::forward_flops(config, objectives::inputs_of(batch, model::Wanted::Pair));
  EXPECT_DOUBLE_EQ(RetrievalObjective(32, 2).flops(config, batch),
                   all.frozen + 3 * all.cnn + all.encoder + 3 * all.encoder * 3 / 5);
  EXPECT_DOUBLE_EQ(VqaObjective(32, 7, 0.0).flops(config, batch), all.with_backward());
}

TEST(Retrieval, LearnsFromAllNegativesWhereThereAreFewerThanHardTexts) {
  model::PixelBert model(small_config());
  const auto retrieval = std::make_shared<RetrievalObjective>(32, 5);
  const data::Batch batch = make_batch(1, 3, 1);
  EXPECT_TRUE(retrieval->losses(model, batch)[0].sum.isfinite().item<bool>());
}

}  // namespace
}  // namespace pixelbert::tasks
