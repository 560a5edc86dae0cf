#include "images/image_ops.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/images/encode.h"

namespace pixelbert::images {
namespace {

TEST(Resized, KeepsTheRatioWithinBothLimits) {
  const ImageConfig paper;
  EXPECT_EQ(resized({480, 640}, paper), (Size{800, 1067}));
  EXPECT_EQ(resized({640, 480}, paper), (Size{1067, 800}));
  EXPECT_EQ(resized({500, 500}, paper), (Size{800, 800}));
  EXPECT_EQ(resized({100, 1000}, paper), (Size{133, 1333}));
  EXPECT_EQ(resized({1, 1}, paper), (Size{800, 800}));
  EXPECT_EQ(resized({10, 20000}, paper), (Size{1, 1333}));
  EXPECT_EQ(resized({20000, 10}, paper), (Size{1333, 1}));
}

TEST(Resized, NeverLeavesItsLimits) {
  for (const ImageConfig config :
       {ImageConfig{800, 1333}, ImageConfig{600, 1000}, ImageConfig{64, 64}, ImageConfig{1, 1}}) {
    for (std::int64_t height = 1; height < 3000; height = height * 5 / 3 + 1) {
      for (std::int64_t width = 1; width < 3000; width = width * 4 / 3 + 1) {
        const Size size = resized({height, width}, config);
        ASSERT_GE(std::min(size.height, size.width), 1);
        ASSERT_LE(std::min(size.height, size.width), config.short_side);
        ASSERT_LE(std::max(size.height, size.width), config.long_side);
        const bool touches = std::min(size.height, size.width) == config.short_side ||
                             std::max(size.height, size.width) == config.long_side;
        ASSERT_TRUE(touches) << height << " x " << width;
      }
    }
  }
}

TEST(Padded, RoundsBothSidesUpToAMultiple) {
  EXPECT_EQ(padded({800, 1067}, {.size_multiple = 1}), (Size{800, 1067}));
  EXPECT_EQ(padded({800, 1067}, {.size_multiple = 64}), (Size{832, 1088}));
  EXPECT_EQ(padded({832, 1}, {.size_multiple = 64}), (Size{832, 64}));
  EXPECT_THROW(validate(ImageConfig{.size_multiple = 0}), UsageError);
}

TEST(Decode, GivesRowsOfRgb) {
  const test::Bytes pixels = test::gradient(5, 7, 3);
  const torch::Tensor decoded = decode(test::png(pixels, 5, 7));
  EXPECT_EQ(decoded.sizes(), (at::IntArrayRef{5, 7, 3}));
  EXPECT_EQ(test::Bytes(decoded.data_ptr<std::uint8_t>(), decoded.data_ptr<std::uint8_t>() + decoded.numel()), pixels);
}

TEST(Resize, GivesContiguousRowsOfTheAskedSize) {
  const torch::Tensor pixels = at::randint(256, {40, 60, 3}, at::kByte);
  for (const Size size : {Size{20, 30}, Size{80, 120}, Size{1, 1}, Size{1, 200}, Size{40, 60}, Size{37, 1}}) {
    const torch::Tensor small = resize(pixels, size);
    EXPECT_EQ(small.sizes(), (at::IntArrayRef{size.height, size.width, 3}));
    EXPECT_TRUE(small.is_contiguous());
    EXPECT_EQ(small.scalar_type(), at::kByte);
  }
}

TEST(Resize, AveragesWhatItShrinks) {
  // Antialiased: each result is a mean over the pixels it replaces, not one of them.
  const torch::Tensor stripes =
      at::arange(64, at::kLong).remainder(2).mul(255).to(at::kByte).view({1, 64, 1}).expand({64, 64, 3});
  const torch::Tensor small = resize(stripes.contiguous(), Size{8, 8});
  EXPECT_GE(small.min().item<int>(), 120);
  EXPECT_LE(small.max().item<int>(), 135);
}

TEST(Resize, LeavesOneColourAlone) {
  const torch::Tensor flat = at::full({33, 57, 3}, 77, at::kByte);
  for (const Size size : {Size{5, 9}, Size{300, 400}}) {
    EXPECT_TRUE((resize(flat, size) == 77).all().item<bool>());
  }
}

TEST(Normalise, EqualsTheDefinitionInsideEachImageAndIsZeroElsewhere) {
  for (std::int64_t width = 1; width < 70; ++width) {
    const torch::Tensor pixels = at::randint(256, {3, 5, width + 4, 3}, at::kByte).permute({0, 3, 1, 2});
    const torch::Tensor sizes =
        at::tensor({std::int64_t{3}, width, std::int64_t{5}, width + 4, std::int64_t{1}, std::int64_t{1}}).view({3, 2});
    const torch::Tensor images = normalise(pixels, sizes);
    ASSERT_TRUE(images.is_contiguous(at::MemoryFormat::ChannelsLast));
    const torch::Tensor mean = at::tensor({kMean[0], kMean[1], kMean[2]}, at::kDouble).view({1, 3, 1, 1});
    const torch::Tensor deviation =
        at::tensor({kDeviation[0], kDeviation[1], kDeviation[2]}, at::kDouble).view({1, 3, 1, 1});
    torch::Tensor expected = (pixels.to(at::kDouble) - mean) / deviation;
    for (std::int64_t i = 0; i < 3; ++i) {
      expected[i].slice(1, sizes[i][0].item<std::int64_t>()).zero_();
      expected[i].slice(2, sizes[i][1].item<std::int64_t>()).zero_();
    }
    ASSERT_LT((images.to(at::kDouble) - expected).abs().max().item<double>(), 1e-6);
    ASSERT_TRUE(at::equal(images == 0, expected == 0));
  }
}

TEST(Normalise, RefusesAnotherLayout) {
  const torch::Tensor sizes = at::tensor({4, 5}, at::kLong).view({1, 2});
  EXPECT_THROW(normalise(at::zeros({1, 3, 4, 5}, at::kByte), sizes), Error);
  EXPECT_THROW(normalise(at::zeros({1, 4, 5, 3}, at::kFloat).permute({0, 3, 1, 2}), sizes), Error);
  EXPECT_THROW(normalise(at::zeros({2, 4, 5, 3}, at::kByte).permute({0, 3, 1, 2}), sizes), Error);
}

}  // namespace
}  // namespace pixelbert::images
