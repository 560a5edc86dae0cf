#include "model/pixel_bert.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "core/check.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

using ::testing::HasSubstr;
using ::testing::Throws;

PixelBertConfig small_config() {
  PixelBertConfig config;
  config.backbone = "resnet18";
  config.vocabulary = 50;
  config.hidden = 32;
  config.layers = 2;
  config.heads = 4;
  config.positions = 12;
  config.dropout = 0;
  return config;
}

Inputs small_inputs(const std::vector<std::int64_t>& image_of_row = {0, 0, 1}) {
  const auto pairs = static_cast<std::int64_t>(image_of_row.size());
  const std::int64_t images = image_of_row.back() + 1;
  Inputs inputs;
  inputs.images = at::randn({images, 3, 128, 192});
  inputs.image_sizes = at::tensor({128, 192}, at::kLong).repeat({images, 1});
  inputs.image_of_row = at::tensor(image_of_row);
  inputs.tokens = at::randint(0, 50, {pairs, 7}, at::kLong);
  inputs.token_mask = at::ones({pairs, 7}, at::kBool);
  return inputs;
}

TEST(PixelBert, EncodesTextFirstThenPixels) {
  PixelBert model(small_config());
  const Encoded encoded = model->forward(small_inputs());
  EXPECT_EQ(encoded.hidden.sizes(), (torch::IntArrayRef{3, 7 + 6, 32}));  // 128x192 -> 4x6 -> 2x3
  EXPECT_EQ(encoded.text().size(1), 7);
  EXPECT_TRUE(encoded.pair().equal(encoded.text().select(1, 0)));
}

TEST(PixelBert, FewerVectorsAreTheSameVectors) {
  at::manual_seed(6);
  PixelBert model(small_config());
  Inputs inputs = small_inputs();
  const torch::Tensor all = model->forward(inputs).hidden;
  inputs.wanted = Wanted::Text;
  const Encoded text = model->forward(inputs);
  EXPECT_EQ(text.hidden.size(1), 7);
  EXPECT_LT(test::relative_difference(text.text(), all.narrow(1, 0, 7)), 1e-6);
  inputs.wanted = Wanted::Pair;
  const Encoded pair = model->forward(inputs);
  EXPECT_EQ(pair.hidden.size(1), 1);
  EXPECT_LT(test::relative_difference(pair.pair(), all.select(1, 0)), 1e-6);
}

TEST(PixelBert, PaddingBehindATextChangesNothing) {
  at::manual_seed(1);
  PixelBert model(small_config());
  model->eval();
  const at::NoGradGuard no_grad;
  Inputs inputs = small_inputs();
  const torch::Tensor exact = model->forward(inputs).hidden;
  inputs.tokens = at::cat({inputs.tokens, at::randint(0, 50, {3, 4}, at::kLong)}, 1);
  inputs.token_mask = at::cat({inputs.token_mask, at::zeros({3, 4}, at::kBool)}, 1);
  const Encoded padded = model->forward(inputs);
  EXPECT_LT(test::relative_difference(padded.hidden.narrow(1, 0, 7), exact.narrow(1, 0, 7)), 1e-5);
  EXPECT_LT(test::relative_difference(padded.hidden.narrow(1, 11, 6), exact.narrow(1, 7, 6)), 1e-5);
}

TEST(PixelBert, PairsDoNotSeeEachOther) {
  at::manual_seed(2);
  PixelBert model(small_config());
  model->eval();
  const at::NoGradGuard no_grad;
  const Inputs inputs = small_inputs();
  Inputs last = inputs;
  last.images = inputs.images.narrow(0, 1, 1);
  last.image_sizes = inputs.image_sizes.narrow(0, 1, 1);
  last.image_of_row = at::zeros({1}, at::kLong);
  last.tokens = inputs.tokens.narrow(0, 2, 1);
  last.token_mask = inputs.token_mask.narrow(0, 2, 1);
  const torch::Tensor alone = model->forward(last).hidden;
  EXPECT_LT(test::relative_difference(model->forward(inputs).hidden.narrow(0, 2, 1), alone), 1e-5);
}

TEST(PixelBert, PixelsHaveNoOrderButAreSeen) {
  at::manual_seed(3);
  PixelBert model(small_config());
  model->eval();
  const at::NoGradGuard no_grad;
  Inputs inputs = small_inputs();
  const torch::Tensor before = model->forward(inputs).pair();
  inputs.images = inputs.images + 1;
  EXPECT_GT(test::relative_difference(model->forward(inputs).pair(), before), 1e-4);
}

TEST(PixelBert, DrawsPixelsOnlyWhenGivenKeys) {
  PixelBertConfig config = small_config();
  config.sampled_pixels = 2;
  PixelBert model(config);
  Inputs inputs = small_inputs();
  EXPECT_EQ(model->forward(inputs).hidden.size(1), 7 + 6);
  inputs.pixel_keys = {1, 2, 3};
  EXPECT_EQ(model->forward(inputs).hidden.size(1), 7 + 2);
}

TEST(PixelBert, DropoutIsAFunctionOfTheGeneratorAndAbsentInEvaluation) {
  PixelBertConfig config = small_config();
  config.dropout = 0.1;
  config.batch_norm = NormMode::Frozen;
  PixelBert model(config);
  const Inputs inputs = small_inputs();
  const auto hidden = [&](std::uint64_t seed) {
    at::manual_seed(seed);
    return model->forward(inputs).hidden;
  };
  EXPECT_TRUE(hidden(1).equal(hidden(1)));
  EXPECT_FALSE(hidden(1).equal(hidden(2)));
  model->eval();
  EXPECT_TRUE(hidden(1).equal(hidden(2)));
}

TEST(PixelBert, AttendsAlikeWithAndWithoutDropout) {
  PixelBertConfig config = small_config();
  Inputs inputs = small_inputs();
  inputs.token_mask[1].narrow(0, 4, 3).fill_(false);
  const auto hidden = [&](double dropout) {
    config.dropout = dropout;
    at::manual_seed(1);
    return PixelBert(config)->forward(inputs).hidden;
  };
  // On the CPU dropout takes its own path; 1e-9 takes it, too, and drops nothing.
  EXPECT_LT(test::relative_difference(hidden(1e-9), hidden(0)), 1e-5);
}

TEST(PixelBert, EveryParameterBelongsToOneOptimizer) {
  PixelBertConfig config = small_config();
  config.frozen_stages = 2;
  config.pixel_layernorm = true;
  PixelBert model(config);
  std::size_t trained = 0, frozen = 0;
  for (const auto& item : model->named_parameters()) {
    (item.value().requires_grad() ? trained : frozen) += 1;
    const bool first_stages = item.key().starts_with("backbone.conv1") || item.key().starts_with("backbone.bn1") ||
                              item.key().starts_with("backbone.layer1");
    EXPECT_EQ(item.value().requires_grad(), !first_stages) << item.key();
  }
  EXPECT_GT(frozen, 0u);
  const auto backbone = model->backbone_parameters(), rest = model->transformer_parameters();
  EXPECT_EQ(backbone.size() + rest.size(), trained);
  for (const auto* group : {&backbone, &rest}) {
    for (const auto& [name, parameter] : *group) {
      EXPECT_TRUE(model->named_parameters()[name].is_same(parameter)) << name;
      EXPECT_EQ(name.starts_with("backbone."), group == &backbone) << name;
    }
  }
}

TEST(PixelBert, WeightsHaveThePromisedNames) {
  PixelBert model(small_config());
  const auto names = model->named_parameters().keys();
  for (const char* name :
       {"backbone.layer1.0.conv1.weight", "visual.conv.weight", "visual.conv.bias", "visual.semantic_embedding",
        "bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight",
        "bert.embeddings.LayerNorm.weight", "bert.encoder.layer.1.attention.self.query.weight",
        "bert.encoder.layer.1.attention.output.LayerNorm.bias", "bert.encoder.layer.1.intermediate.dense.weight",
        "bert.encoder.layer.1.output.dense.bias"}) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
}

TEST(PixelBert, RefusesMoreTokensThanPositionsAndHeadsThatDoNotFit) {
  PixelBert model(small_config());
  Inputs inputs = small_inputs();
  inputs.tokens = at::zeros({3, 13}, at::kLong);
  inputs.token_mask = at::ones({3, 13}, at::kBool);
  EXPECT_THAT([&] { model->forward(inputs); },
              Throws<Error>(testing::Property(&Error::what, HasSubstr("13 tokens, but the model has 12 positions"))));
  PixelBertConfig config = small_config();
  config.heads = 5;
  EXPECT_THAT([&] { PixelBert{config}; },
              Throws<UsageError>(testing::Property(
                  &UsageError::what, HasSubstr("--model.hidden must be a multiple of --model.heads 5, found 32"))));
}

// bfloat16 autocast, as in the training loop.
class Bfloat16 {
 public:
  Bfloat16() {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
  ~Bfloat16() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
};

TEST(PixelBert, RunsInBfloat16AndKeepsStatisticsAndGradientsInFloat32) {
  at::manual_seed(4);
  PixelBertConfig config = small_config();
  config.frozen_stages = 1;
  PixelBert model(config);
  use_channels_last(*model);
  Inputs inputs = small_inputs();
  inputs.images = inputs.images.contiguous(at::MemoryFormat::ChannelsLast);
  const torch::Tensor exact = model->forward(inputs).hidden.detach();
  const torch::Tensor exact_statistics = model->take_batch_statistics();

  torch::Tensor hidden;
  {
    const Bfloat16 autocast;
    hidden = model->forward(inputs).hidden;
  }
  EXPECT_LT(test::relative_difference(hidden.detach(), exact), 0.08);  // 8 bits, over some 30 layers
  const torch::Tensor statistics = model->take_batch_statistics();
  EXPECT_EQ(statistics.scalar_type(), at::kFloat);
  EXPECT_LT(test::relative_difference(statistics, exact_statistics), 0.02);

  hidden.to(at::kFloat).square().sum().backward();
  for (const auto& item : model->named_parameters()) {
    if (!item.value().requires_grad()) continue;
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_EQ(item.value().grad().scalar_type(), at::kFloat) << item.key();
    EXPECT_TRUE(item.value().grad().to_dense().isfinite().all().item<bool>()) << item.key();
  }
}

TEST(ForwardFlops, CountWhatIsExecuted) {
  PixelBertConfig config = small_config();
  const Inputs inputs = small_inputs();
  const double tokens = 7 + 6, hidden = 32;
  const double per_pair = config.layers * (24 * tokens * hidden * hidden + 4 * tokens * tokens * hidden);
  const double per_image = resnet_flops(resnet_shape("resnet18"), {128, 192}) + 2 * 512 * hidden * 4 * 6;
  EXPECT_DOUBLE_EQ(forward_flops(config, inputs).all(), 2 * per_image + 3 * per_pair);

  Inputs cheaper = inputs;  // the last layer computes keys and values of all tokens, the rest of one
  cheaper.wanted = Wanted::Pair;
  const double left_out = (24 - 4) * (tokens - 1) * hidden * hidden + 4 * (tokens - 1) * tokens * hidden;
  EXPECT_DOUBLE_EQ(forward_flops(config, cheaper).all(), 2 * per_image + 3 * (per_pair - left_out));

  Inputs shorter = inputs;
  shorter.token_mask = inputs.token_mask.clone();
  shorter.token_mask[0].narrow(0, 5, 2).fill_(false);
  const double fewer = 5 + 6;
  const double short_pair = config.layers * (24 * fewer * hidden * hidden + 4 * fewer * fewer * hidden);
  EXPECT_DOUBLE_EQ(forward_flops(config, shorter).all(), 2 * per_image + 2 * per_pair + short_pair);

  config.visual_order = VisualOrder::PoolConv;  // projects a quarter of the cells
  EXPECT_DOUBLE_EQ(forward_flops(config, inputs).all(), 2 * (per_image - 2 * 512 * hidden * 18) + 3 * per_pair);
}

TEST(ForwardFlops, FrozenStagesHaveNoBackward) {
  PixelBertConfig config = small_config();
  const Inputs inputs = small_inputs();  // 2 images
  config.frozen_stages = 0;
  const ForwardFlops trained = forward_flops(config, inputs);
  EXPECT_EQ(trained.frozen, 0);
  EXPECT_DOUBLE_EQ(trained.with_backward(), 3 * trained.all());
  config.frozen_stages = 5;
  const ForwardFlops frozen = forward_flops(config, inputs);
  EXPECT_DOUBLE_EQ(frozen.all(), trained.all());
  EXPECT_DOUBLE_EQ(frozen.frozen, 2 * resnet_flops(resnet_shape("resnet18"), {128, 192}));
  EXPECT_DOUBLE_EQ(frozen.with_backward(), 3 * trained.all() - 2 * frozen.frozen);
}

TEST(ForwardFlops, OfBertBaseAreTwoPerWeightAndToken) {
  constexpr double kWeights = 84934656;  // 12 layers of 4 * 768 * 768 + 2 * 768 * 3072: matrices alone
  const Inputs inputs = small_inputs();  // 3 pairs of 13 tokens
  PixelBertConfig config;
  const double whole = forward_flops(config, inputs).all();
  const double layer = 3 * (2 * kWeights / 12 * 13 + 4 * 768 * 13 * 13);
  config.layers = 1;
  EXPECT_DOUBLE_EQ(whole - forward_flops(config, inputs).all(), 11 * layer);
}

}  // namespace
}  // namespace pixelbert::model
