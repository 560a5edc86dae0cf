// What padding costs on photographs: a million pairs whose images have the sizes of real ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "core/files.h"
#include "core/rng.h"
#include "data/padding.h"
#include "data/sample_stream.h"
#include "images/image_ops.h"
#include "tests/support/shared_data.h"

namespace pixelbert::data {
namespace {

constexpr std::int64_t kPairs = 1 << 20, kTexts = 4, kImages = kPairs / kTexts;
constexpr std::int64_t kMicroBatch = 64, kMicroBatches = 64;  // of a step
constexpr std::int64_t kImagesInMicroBatch = kMicroBatch / kTexts;

// Sizes of the images in `folders`, resized as the paper's are. Copies of 224 x 224 pixels are none of photographs.
std::vector<images::Size> sizes_in(std::span<const std::filesystem::path> folders) {
  std::vector<images::Size> sizes;
  for (const std::filesystem::path& folder : folders) {
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      const std::string content = read_file(file.path());
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(content.data());
      const images::Size size = images::probe({bytes, content.size()});
      if (size != images::Size{224, 224}) sizes.push_back(images::resized(size, images::ImageConfig()));
    }
  }
  std::ranges::sort(sizes, [](const auto& a, const auto& b) {  // directories are listed in any order
    return std::pair(a.height, a.width) < std::pair(b.height, b.width);
  });
  return sizes;
}

Shape drawn(const std::vector<images::Size>& sizes, std::int64_t image) {
  const auto& [height, width] = sizes[Random(key(image)).below(sizes.size())];
  return {.height = height, .width = width, .images = 1, .pixels = height * width};
}

SampleStream stream_of(const std::vector<images::Size>& sizes, bool group_shapes) {
  constexpr std::int64_t kImagesPerBlock = 128;
  std::vector<Block> blocks;
  for (std::int64_t image = 0; image < kImages; image += kImagesPerBlock) {
    blocks.push_back({.first_image = image,
                      .images = kImagesPerBlock,
                      .first_text = kTexts * image,
                      .texts = kTexts * kImagesPerBlock});
  }
  const auto counts = [](const Block& block) {
    return std::vector<std::int64_t>(static_cast<std::size_t>(block.images), kTexts);
  };
  const auto shapes = [&sizes](const Block& block) {
    std::vector<Shape> shapes;
    for (std::int64_t i = 0; i < block.images; ++i) shapes.push_back(drawn(sizes, block.first_image + i));
    return shapes;
  };
  const StreamConfig config = {.global_batch = kMicroBatch * kMicroBatches,
                               .micro_batch = kMicroBatch,
                               .texts_per_image = kTexts,
                               .group_shapes = group_shapes};
  return {std::move(blocks), counts, config, /*seed=*/1, shapes};
}

// As torchvision's references for detection do it (GroupedBatchSampler, --aspect-ratio-group-factor 3): each rank has
// its own images in random order, and makes a batch when a group of ratios has enough of them.
std::vector<StepShapes> torchvision_steps_of(const std::vector<images::Size>& sizes, std::int64_t ranks) {
  std::vector<double> edges;
  for (int i = -3; i <= 3; ++i) edges.push_back(std::exp2(i / 3.));
  std::vector<std::vector<Shape>> batches(static_cast<std::size_t>(ranks));
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    std::map<std::ptrdiff_t, Shape> open;
    for (std::int64_t image = rank; image < kImages; image += ranks) {
      const Shape shape = drawn(sizes, image);
      const double ratio = static_cast<double>(shape.width) / static_cast<double>(shape.height);
      Shape& batch = open[std::ranges::upper_bound(edges, ratio) - edges.begin()];
      batch = {std::max(batch.height, shape.height), std::max(batch.width, shape.width), batch.images + 1,
               batch.pixels + shape.pixels};
      if (batch.images < kImagesInMicroBatch) continue;
      batches[static_cast<std::size_t>(rank)].push_back(batch);
      batch = {};
    }
  }
  std::size_t fewest = batches[0].size();
  for (const auto& own : batches) fewest = std::min(fewest, own.size());
  const auto share = static_cast<std::size_t>(kMicroBatches / ranks);
  std::vector<StepShapes> steps;
  for (std::size_t first = 0; first + share <= fewest; first += share) {
    steps.emplace_back();
    for (const auto& own : batches) {
      steps.back().insert(steps.back().end(), own.begin() + static_cast<std::ptrdiff_t>(first),
                          own.begin() + static_cast<std::ptrdiff_t>(first + share));
    }
  }
  return steps;
}

void print(const char* order, const Padding& many, const Padding& few, std::int64_t multiple) {
  std::printf("%-12s %8ld %8ld %8.3f %8.3f %8.3f\n", order, static_cast<long>(multiple), static_cast<long>(many.sizes),
              many.padded, many.busiest, few.busiest);
}

// Prints the table of docs/pretrain.md.
void check_padding(const std::vector<images::Size>& sizes) {
  ASSERT_GT(sizes.size(), 50u);
  const auto shapes = [&](bool group_shapes) {
    return shapes_from(stream_of(sizes, group_shapes), {}, kPairs / kMicroBatch);
  };
  const std::vector<StepShapes> shuffled = shapes(false), grouped = shapes(true);
  ASSERT_EQ(std::ssize(grouped), kPairs / (kMicroBatch * kMicroBatches));
  const auto many = torchvision_steps_of(sizes, 64), few = torchvision_steps_of(sizes, 8);
  std::printf("%-12s %8s %8s %8s %8s %8s\n", "order", "multiple", "sizes", "padded", "64 x 1", "8 x 8");
  for (const std::int64_t multiple : {1, 32, 64}) {
    const images::ImageConfig config = {.size_multiple = multiple};
    const auto padding = [&](const auto& steps, int ranks) { return padding_of(steps, config, ranks); };
    print("shuffled", padding(shuffled, 64), padding(shuffled, 8), multiple);
    print("torchvision", padding(many, 64), padding(few, 8), multiple);
    print("grouped", padding(grouped, 64), padding(grouped, 8), multiple);
    for (const int ranks : {64, 8}) {
      EXPECT_LE(padding(grouped, ranks).busiest, 1.12) << ranks << " ranks, sizes rounded up to " << multiple;
      EXPECT_GE(padding(shuffled, ranks).busiest, 1.5);
    }
  }
}

TEST(Padding, IsCountedFromShapes) {
  // A step of two micro-batches, and one of one, of two images each.
  const Shape tall = {.height = 10, .width = 5, .images = 2, .pixels = 90}, wide = {5, 8, 2, 70};
  const std::vector<StepShapes> steps = {{tall, wide}, {tall}};
  const Padding one = padding_of(steps, {}, 1);
  EXPECT_EQ(one.micro_batches, 3);
  EXPECT_EQ(one.sizes, 2);
  EXPECT_DOUBLE_EQ(one.padded, 280. / 250);
  EXPECT_DOUBLE_EQ(one.busiest, 280. / 250);
  EXPECT_DOUBLE_EQ(padding_of(steps, {}, 2).busiest, 2 * (100. + 100) / 250);
  const Padding rounded = padding_of(steps, {.size_multiple = 10}, 1);
  EXPECT_EQ(rounded.sizes, 1);
  EXPECT_DOUBLE_EQ(rounded.padded, 600. / 250);
  EXPECT_DOUBLE_EQ(padding_of({{Shape()}}, {}, 1).padded, 1);
}

TEST(Padding, OfCocosPhotographsIsLittleAndRanksHaveLikeWork) {
  const std::filesystem::path folders[] = {test::shared_data("coco-train2017"),
                                           test::shared_data("vqa-v2-with-images")};
  if (folders[0].empty() || folders[1].empty()) GTEST_SKIP() << "no real data";
  const std::filesystem::path images[] = {folders[0] / "images", folders[1] / "images"};
  check_padding(sizes_in(images));
}

TEST(Padding, OfFlickrsPhotographsIsLittleAndRanksHaveLikeWork) {
  const std::filesystem::path folder = test::shared_data("flickr8k");
  if (folder.empty()) GTEST_SKIP() << "no real data";
  const std::filesystem::path images[] = {folder / "images"};
  check_padding(sizes_in(images));
}

}  // namespace
}  // namespace pixelbert::data
