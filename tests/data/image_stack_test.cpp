#include "data/image_stack.h"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "tests/images/encode.h"

namespace pixelbert::data {
namespace {

using images::Size;

constexpr images::ImageConfig kConfig = {.short_side = 24, .long_side = 40, .size_multiple = 8};

test::Bytes file_of(Size size) {
  return test::png(test::gradient(size.height, size.width, 3), size.height, size.width);
}

// What a stack gives for images of these sizes, when it was made with room for `count` of `largest`.
std::pair<torch::Tensor, torch::Tensor> stacked(const std::vector<Size>& sizes, std::int64_t count = 0,
                                                Size largest = {}) {
  ImageStack stack(kConfig, count, largest);
  for (std::int64_t i = 0; i < std::ssize(sizes); ++i) stack.push({0, i}, file_of(sizes[i]));
  return stack.take();
}

void expect_same(const std::pair<torch::Tensor, torch::Tensor>& found,
                 const std::pair<torch::Tensor, torch::Tensor>& expected) {
  EXPECT_TRUE(found.first.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(found.first, expected.first));
  EXPECT_TRUE(at::equal(found.second, expected.second));
}

TEST(ImageStack, HoldsResizedImagesWithZerosBelowAndRight) {
  const std::vector<Size> sizes = {{24, 32}, {48, 30}, {10, 40}, {24, 24}};
  const auto [pixels, found] = stacked(sizes, 4, {40, 40});
  ASSERT_EQ(pixels.sizes(), (at::IntArrayRef{4, 3, 40, 40}));
  for (std::int64_t i = 0; i < 4; ++i) {
    const Size size = images::resized(sizes[i], kConfig);
    EXPECT_EQ(found[i][0].item<std::int64_t>(), size.height);
    EXPECT_EQ(found[i][1].item<std::int64_t>(), size.width);
    const torch::Tensor image = pixels[i];
    const torch::Tensor alone = images::resize(images::decode(file_of(sizes[i])), size).permute({2, 0, 1});
    EXPECT_TRUE(at::equal(image.slice(1, 0, size.height).slice(2, 0, size.width), alone));
    EXPECT_FALSE(image.slice(1, size.height).any().item<bool>());
    EXPECT_FALSE(image.slice(2, size.width).any().item<bool>());
  }
}

TEST(ImageStack, DoesNotDependOnTheRoomItBeganWith) {
  const std::vector<Size> sizes = {{24, 32}, {24, 24}, {48, 30}, {30, 48}};
  const auto expected = stacked(sizes, 4, {38, 38});
  for (const std::int64_t count : {0, 2, 4, 9}) {
    for (const Size largest : {Size{}, Size{24, 38}, Size{200, 300}}) {
      expect_same(stacked(sizes, count, largest), expected);
    }
  }
}

TEST(ImageStack, IsAsBeforeAfterABadImage) {
  const std::vector<Size> sizes = {{24, 32}, {24, 30}};
  test::Bytes cut = file_of({60, 20});  // higher than the others
  cut.resize(cut.size() / 2);
  ImageStack stack(kConfig, 2, {24, 32});
  stack.push({0, 0}, file_of(sizes[0]));
  EXPECT_THROW(stack.push({0, 1}, cut), images::BadImage);
  EXPECT_EQ(stack.size(), 1);
  stack.push({0, 2}, file_of({60, 20}));
  stack.shrink_to(1);
  stack.push({0, 3}, file_of(sizes[1]));
  EXPECT_TRUE(stack.ends_with(std::vector<ImageRow>{{0, 3}}));
  EXPECT_TRUE(stack.ends_with(std::vector<ImageRow>{{0, 0}, {0, 3}}));
  EXPECT_FALSE(stack.ends_with(std::vector<ImageRow>{{0, 2}, {0, 3}}));
  EXPECT_FALSE(stack.ends_with(std::vector<ImageRow>{{1, 3}}));
  EXPECT_FALSE(stack.ends_with(std::vector<ImageRow>{{0, 9}, {0, 0}, {0, 3}}));
  expect_same(stack.take(), stacked(sizes));
}

TEST(ImageStack, MayBeEmpty) {
  const auto [pixels, sizes] = ImageStack(kConfig, 3, {24, 32}).take();
  EXPECT_EQ(pixels.size(0), 0);
  EXPECT_EQ(sizes.sizes(), (at::IntArrayRef{0, 2}));
}

}  // namespace
}  // namespace pixelbert::data
