#include "model/pixel_embedding.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <set>

#include "core/check.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

using ::testing::HasSubstr;
using ::testing::Throws;

PixelBertConfig embedding_config(VisualOrder order = VisualOrder::ConvPool, std::int64_t sampled = 0) {
  PixelBertConfig config;
  config.visual_order = order;
  config.sampled_pixels = sampled;
  config.hidden = 8;
  return config;
}

ImageLayout layout_of(const std::vector<Grid>& sizes, const std::vector<std::int64_t>& of_pair) {
  ImageLayout layout{at::empty({static_cast<std::int64_t>(sizes.size()), 2}, at::kLong), at::tensor(of_pair), {}};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    layout.sizes[static_cast<std::int64_t>(i)][0] = sizes[i].height;
    layout.sizes[static_cast<std::int64_t>(i)][1] = sizes[i].width;
    layout.padded.height = std::max(layout.padded.height, sizes[i].height);
    layout.padded.width = std::max(layout.padded.width, sizes[i].width);
  }
  return layout;
}

std::vector<std::int64_t> chosen_cells(const PixelChoice& choice, std::int64_t pair) {
  const torch::Tensor cells = choice.cells[pair].masked_select(choice.mask[pair]);
  return {cells.const_data_ptr<std::int64_t>(), cells.const_data_ptr<std::int64_t>() + cells.numel()};
}

TEST(ChoosePixels, TakesTheCellsOfTheImageAloneInRowOrder) {
  for (const VisualOrder order : {VisualOrder::ConvPool, VisualOrder::PoolConv, VisualOrder::Conv}) {
    const PixelBertConfig config = embedding_config(order);
    for (const std::int64_t height : {1, 32, 33, 64, 95, 128, 300}) {
      for (const std::int64_t width : {1, 40, 64, 65, 200, 320}) {
        const Grid image{height, width};
        const ImageLayout layout = layout_of({{300, 320}, image}, {0, 1});
        const PixelChoice choice = choose_pixels(config, layout, {});
        const Grid batch_grid = token_grid(config, {300, 320}), grid = token_grid(config, image);
        std::vector<std::int64_t> expected;
        for (std::int64_t y = 0; y < grid.height; ++y) {
          for (std::int64_t x = 0; x < grid.width; ++x) {
            expected.push_back(batch_grid.cells() + y * batch_grid.width + x);
          }
        }
        EXPECT_EQ(chosen_cells(choice, 1), expected) << name_of(order) << " " << height << "x" << width;
        EXPECT_EQ(static_cast<std::int64_t>(chosen_cells(choice, 0).size()), batch_grid.cells());
      }
    }
  }
}

TEST(ChoosePixels, DrawsPerPairByItsKeyWhateverElseIsInTheBatch) {
  const PixelBertConfig config = embedding_config(VisualOrder::ConvPool, 5);
  const ImageLayout together = layout_of({{640, 320}, {256, 640}}, {0, 0, 1});
  const PixelChoice choice = choose_pixels(config, together, {11, 12, 13});
  EXPECT_EQ(choice.cells.sizes(), (torch::IntArrayRef{3, 5}));
  EXPECT_NE(chosen_cells(choice, 0), chosen_cells(choice, 1)) << "two pairs of one image draw independently";

  const PixelChoice alone = choose_pixels(config, layout_of({{256, 640}}, {0}), {13});
  const Grid batch_grid = token_grid(config, together.padded);
  const std::vector<std::int64_t> mine = chosen_cells(choice, 2), same = chosen_cells(alone, 0);
  for (std::size_t i = 0; i < same.size(); ++i) {
    EXPECT_EQ(mine[i], batch_grid.cells() + same[i]) << "both are 10 cells wide";
  }
}

TEST(ChoosePixels, PadsPairsOfFewerPixelsAndMasksThem) {
  const PixelBertConfig config = embedding_config(VisualOrder::ConvPool, 4);
  const PixelChoice choice = choose_pixels(config, layout_of({{640, 640}, {64, 128}}, {0, 1}), {1, 2});
  EXPECT_EQ(choice.mask.sum(1)[0].item<std::int64_t>(), 4);
  EXPECT_EQ(choice.mask.sum(1)[1].item<std::int64_t>(), 2);
  EXPECT_TRUE(choice.mask[1].narrow(0, 0, 2).all().item<bool>()) << "padding comes last";
}

TEST(ChoosePixels, RefusesWrongSizesAndKeys) {
  const PixelBertConfig config = embedding_config(VisualOrder::ConvPool, 4);
  ImageLayout layout = layout_of({{64, 64}}, {0});
  EXPECT_THAT([&] { choose_pixels(config, layout, {1, 2}); },
              Throws<Error>(testing::Property(&Error::what, HasSubstr("each of 1 pairs, found 2"))));
  layout.sizes[0][1] = 65;
  EXPECT_THAT(
      [&] { choose_pixels(config, layout, {1}); },
      Throws<Error>(testing::Property(&Error::what, HasSubstr("64x65 pixels, but the batch is padded to 64x64"))));
}

TEST(PixelEmbedding, NoTokenDependsOnPadding) {
  // With 1x1 and 1xn cells the pool would reach beyond the image.
  for (const VisualOrder order : {VisualOrder::ConvPool, VisualOrder::PoolConv, VisualOrder::Conv}) {
    at::manual_seed(1);
    PixelEmbedding embedding(embedding_config(order), 16);
    const ImageLayout layout = layout_of({{200, 200}, {20, 20}, {20, 160}, {97, 30}, {97, 130}}, {0, 1, 2, 3, 4});
    const Grid padded = backbone_grid(layout.padded);
    const torch::Tensor features = at::rand({5, 16, padded.height, padded.width});
    torch::Tensor other = features.clone();
    for (std::int64_t i = 0; i < 5; ++i) {
      const Grid grid =
          backbone_grid({layout.sizes[i][0].item<std::int64_t>(), layout.sizes[i][1].item<std::int64_t>()});
      other[i].narrow(1, grid.height, padded.height - grid.height).fill_(1000);
      other[i].narrow(2, grid.width, padded.width - grid.width).fill_(1000);
    }
    const PixelTokens a = embedding->forward(features, layout, {}), b = embedding->forward(other, layout, {});
    const torch::Tensor visible = a.mask.unsqueeze(2);
    EXPECT_EQ(test::max_difference(a.tokens * visible, b.tokens * visible), 0) << name_of(order);
    EXPECT_TRUE(a.tokens.isfinite().all().item<bool>()) << name_of(order);

    b.tokens.masked_fill(visible.logical_not(), 0).square().sum().backward();
    for (const auto& item : embedding->named_parameters()) {
      EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << name_of(order) << " " << item.key();
    }
  }
}

TEST(PixelEmbedding, AddsTheSemanticEmbeddingToEveryToken) {
  PixelEmbedding embedding(embedding_config(), 16);
  const ImageLayout layout = layout_of({{128, 128}}, {0});
  const torch::Tensor features = at::rand({1, 16, 4, 4});
  const at::NoGradGuard no_grad;
  const torch::Tensor before = embedding->forward(features, layout, {}).tokens;
  embedding->named_parameters()["semantic_embedding"].add_(1);
  EXPECT_LT(test::max_difference(embedding->forward(features, layout, {}).tokens, before + 1), 1e-6);
}

TEST(PixelEmbedding, GradientOfACellIsTheSumOverThePairsThatDrewIt) {
  PixelEmbedding embedding(embedding_config(VisualOrder::Conv), 16);
  const torch::Tensor features = at::rand({1, 16, 2, 2}).requires_grad_();
  embedding->forward(features, layout_of({{64, 64}}, {0}), {}).tokens.sum().backward();
  const torch::Tensor once = std::exchange(features.mutable_grad(), {});
  embedding->forward(features, layout_of({{64, 64}}, {0, 0, 0}), {}).tokens.sum().backward();
  EXPECT_LT(test::relative_difference(features.grad(), 3 * once), 1e-6);
}

}  // namespace
}  // namespace pixelbert::model
