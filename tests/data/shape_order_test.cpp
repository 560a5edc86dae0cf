// The order of SampleStream where images have shapes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include "core/rng.h"
#include "data/sample_stream.h"
#include "tests/data/stream_pairs.h"

namespace pixelbert::data {
namespace {

constexpr std::int64_t kImagesPerBlock = 50;

// Images of one data set, each with texts and a shape; both follow from its row.
struct Photographs {
  std::int64_t images;
  std::int64_t (*texts)(std::int64_t image);
  Shape (*shape)(std::int64_t image);
};

std::int64_t ragged(std::int64_t image) {
  return image % 7;
}

std::int64_t four(std::int64_t /*image*/) {
  return 4;
}

std::int64_t one(std::int64_t /*image*/) {
  return 1;
}

Shape square(std::int64_t /*image*/) {
  return {.height = 10, .width = 10, .images = 1, .pixels = 100};
}

// Eight shapes as photographs have them: tall and wide ones, few in between.
constexpr std::int64_t kShapes = 8;
std::int64_t shape_number(std::int64_t image) {
  return static_cast<std::int64_t>(key(image) % kShapes);
}
Shape mixed(std::int64_t image) {
  constexpr std::int64_t kSizes[kShapes][2] = {{13, 8}, {12, 8}, {11, 8}, {8, 8}, {8, 9}, {8, 11}, {8, 12}, {8, 13}};
  const auto [height, width] = kSizes[shape_number(image)];
  return {.height = height, .width = width, .images = 1, .pixels = height * width};
}

SampleStream stream_of(const Photographs& photographs, const StreamConfig& config, std::uint64_t seed = 0) {
  std::vector<Block> blocks;
  Block block;
  while (block.first_image < photographs.images) {
    block.images = std::min(kImagesPerBlock, photographs.images - block.first_image);
    block.texts = 0;
    for (std::int64_t i = 0; i < block.images; ++i) block.texts += photographs.texts(block.first_image + i);
    blocks.push_back(block);
    block.first_image += block.images;
    block.first_text += block.texts;
  }
  const auto of_block = [](const auto& function) {
    return [function](const Block& wanted) {
      std::vector<decltype(function(0))> values;
      for (std::int64_t i = 0; i < wanted.images; ++i) values.push_back(function(wanted.first_image + i));
      return values;
    };
  };
  if (!photographs.shape) return {std::move(blocks), of_block(photographs.texts), config, seed};
  return {std::move(blocks), of_block(photographs.texts), config, seed, of_block(photographs.shape)};
}

std::vector<StreamConfig> configs_of_steps() {
  std::vector<StreamConfig> configs;
  for (const auto& [batch, micro_batch] : {std::pair(1, 1), {8, 8}, {96, 16}, {100, 16}, {700, 16}, {5000, 64}}) {
    for (const std::int64_t group : {1, 4}) {
      for (const std::int64_t window : {1, 3, 16}) {
        configs.push_back(
            {.global_batch = batch, .micro_batch = micro_batch, .texts_per_image = group, .blocks_in_window = window});
      }
    }
  }
  return configs;
}

constexpr StreamConfig kSmall = {.global_batch = 96, .micro_batch = 16, .texts_per_image = 2, .blocks_in_window = 3};
constexpr Photographs kMixed = {1000, ragged, mixed};

// Of pairs and draws of other images; computed with the version before shapes were grouped.
constexpr std::uint64_t kHashOfShuffledOrder = 9254829328559321597u;

std::uint64_t hash_of_order(const SampleStream& stream) {
  std::uint64_t hash = 0;
  for (Position at; at.epoch < 2; at = stream.after(at)) {
    for (const Pair& pair : test::step_of(stream, at)) hash = key(hash, pair.image, pair.text);
  }
  for (std::int64_t draw = 0; draw < 200; ++draw) {
    const auto other = stream.pair_of_another_image({1, 3}, draw % 96, key(draw));
    hash = key(hash, other ? other->text : -1);
  }
  return hash;
}

// An interrupted run must go on in the order in which it began: change this only with a way for older runs.
TEST(ShapeOrder, IsThatOfRunsThatHaveBegun) {
  EXPECT_EQ(hash_of_order(stream_of(kMixed, kSmall, 5)), 11555296758172504712u);
}

TEST(ShapeOrder, WithoutGroupingIsTheShuffledOrder) {
  StreamConfig off = kSmall;
  off.group_shapes = false;
  EXPECT_EQ(hash_of_order(stream_of(kMixed, off, 5)), kHashOfShuffledOrder);
  EXPECT_EQ(hash_of_order(stream_of({1000, ragged, nullptr}, kSmall, 5)), kHashOfShuffledOrder);
  EXPECT_NE(hash_of_order(stream_of(kMixed, kSmall, 5)), kHashOfShuffledOrder);
}

TEST(ShapeOrder, OfImagesOfOneShapeIsTheShuffledOrder) {
  EXPECT_EQ(hash_of_order(stream_of({1000, ragged, square}, kSmall, 5)), kHashOfShuffledOrder);
}

TEST(ShapeOrder, EveryPairComesExactlyOnceInEveryEpoch) {
  for (const StreamConfig& config : configs_of_steps()) {
    for (const std::uint64_t seed : {0, 9}) {
      const SampleStream stream = stream_of(kMixed, config, seed);
      for (const std::int64_t epoch : {0, 5}) {
        std::vector<Pair> pairs = test::epoch_of(stream, epoch);
        std::ranges::sort(pairs, {}, &Pair::text);
        ASSERT_EQ(std::ssize(pairs), stream.pairs_per_epoch());
        std::int64_t text = 0;
        for (std::int64_t image = 0; image < kMixed.images; ++image) {
          for (std::int64_t i = 0; i < ragged(image); ++i, ++text) {
            ASSERT_EQ(pairs[static_cast<std::size_t>(text)], (Pair{0, image, text}));
          }
        }
      }
    }
  }
}

TEST(ShapeOrder, IsTheSameOnAnyRankAndAfterAnyRestart) {
  for (const StreamConfig& config : configs_of_steps()) {
    const SampleStream whole = stream_of(kMixed, config, 3);
    const std::vector<Pair> epoch = test::epoch_of(whole, 1);
    for (const int ranks : {1, 2, 3, 8}) {
      for (int rank = 0; rank < ranks; ++rank) {
        const SampleStream own = stream_of(kMixed, config, 3);  // asks only for its part, from the end
        for (std::int64_t step = own.steps_per_epoch() - 1; step >= 0; step -= own.steps_per_epoch() / 5 + 1) {
          for (const MicroBatch& mine : own.micro_batches({1, step}, {rank, ranks})) {
            const std::vector<Pair> pairs = own.pairs({1, step}, mine.first, mine.last);
            ASSERT_TRUE(
                std::equal(pairs.begin(), pairs.end(), epoch.begin() + step * config.global_batch + mine.first));
          }
        }
      }
    }
  }
}

// What the ranks' CNNs compute in `epoch`, in pixels of images.
struct Work {
  double padded = 0, busiest = 0, real = 0;
};
Work work_of(const SampleStream& stream, std::int64_t epoch, int ranks) {
  Work work;
  for (Position at{epoch, 0}; at.epoch == epoch; at = stream.after(at)) {
    if (stream.pairs_in_step(at) < stream.config().global_batch) continue;
    std::int64_t most = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      std::int64_t padded = 0;
      for (const MicroBatch& mine : stream.micro_batches(at, {rank, ranks})) {
        const Shape shape = stream.shape(at, mine.first, mine.last);
        padded += shape.images * shape.height * shape.width;
        work.real += static_cast<double>(shape.pixels);
      }
      work.padded += static_cast<double>(padded);
      most = std::max(most, padded);
    }
    work.busiest += static_cast<double>(most * ranks);
  }
  return work;
}

TEST(ShapeOrder, MicroBatchesHaveLittlePaddingAndRanksLikeWork) {
  const Photographs photographs = {30'000, one, mixed};
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const std::int64_t epoch : {0, 3}) {
      StreamConfig config = {.global_batch = 1024, .micro_batch = 16, .texts_per_image = 1};
      const SampleStream grouped = stream_of(photographs, config, seed);
      config.group_shapes = false;
      const SampleStream shuffled = stream_of(photographs, config, seed);
      for (const int ranks : {8, 64}) {
        const Work ours = work_of(grouped, epoch, ranks), before = work_of(shuffled, epoch, ranks);
        EXPECT_LT(ours.padded / ours.real, 1.02);
        EXPECT_LT(ours.busiest / ours.real, 1.06) << ranks;
        EXPECT_GT(before.padded / before.real, 1.5);
      }
    }
  }
}

TEST(ShapeOrder, AStepOfOneMicroBatchHasImagesOfLikeShape) {
  const StreamConfig config = {.global_batch = 16, .micro_batch = 16, .texts_per_image = 1};
  const Work work = work_of(stream_of({20'000, one, mixed}, config), 0, 1);
  EXPECT_LT(work.padded / work.real, 1.01);
}

TEST(ShapeOrder, TheTextsOfAUnitStayTogether) {
  const StreamConfig config = {.global_batch = 1024, .micro_batch = 64};
  const SampleStream stream = stream_of({20'000, four, mixed}, config);
  std::int64_t images = 0, micro_batches = 0;
  for (Position at; at.epoch == 0; at = stream.after(at)) {
    for (const MicroBatch& batch : stream.micro_batches(at, {})) {
      images += stream.shape(at, batch.first, batch.last).images;
      ++micro_batches;
    }
  }
  EXPECT_GE(images, 20'000);
  EXPECT_LE(images, 20'000 + micro_batches / 100);  // units of four texts fit into 64 pairs, but at a section's end
}

// How often two images of one shape share a micro-batch, over some epochs: mean over pairs of images, and variance by
// mean, which is 1 - mean if they meet by chance.
struct Meetings {
  double mean = 0, variance_by_mean = 0;
};
Meetings meetings_of(const SampleStream& stream, std::int64_t epochs) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> met;
  for (Position at; at.epoch < epochs; at = stream.after(at)) {
    for (const MicroBatch& batch : stream.micro_batches(at, {})) {
      const std::vector<Pair> pairs = stream.pairs(at, batch.first, batch.last);
      for (const Pair& a : pairs) {
        for (const Pair& b : pairs) {
          if (a.image < b.image && shape_number(a.image) == shape_number(b.image)) ++met[{a.image, b.image}];
        }
      }
    }
  }
  std::map<std::int64_t, double> of_shape;
  for (std::int64_t image = 0; image < stream.pairs_per_epoch(); ++image) ++of_shape[shape_number(image)];
  double pairs = 0, sum = 0, squares = 0;
  for (const auto& [number, images] : of_shape) pairs += images * (images - 1) / 2;
  for (const auto& [images, times] : met) {
    sum += static_cast<double>(times);
    squares += static_cast<double>(times * times);
  }
  const double mean = sum / pairs;
  return {mean, (squares / pairs - mean * mean) / mean};
}

// As in Visual Genome. Sorted by exact sizes, all texts of an image whose size no other has would come together.
TEST(ShapeOrder, ImagesWithManyTextsAndSizesOfTheirOwnAreSpreadOverMicroBatches) {
  const auto fifty = [](std::int64_t /*image*/) -> std::int64_t { return 50; };
  const auto unique = [](std::int64_t image) {
    const auto longer = 800 + static_cast<std::int64_t>(key(image) % 534);
    const bool tall = key(image, 1) % 3 == 0;
    return Shape{.height = tall ? longer : 800, .width = tall ? 800 : longer, .images = 1, .pixels = 800 * longer};
  };
  const SampleStream stream = stream_of({1600, fifty, unique}, {.blocks_in_window = 32});
  std::vector<std::size_t> distinct;  // images of each micro-batch
  for (Position at; at.epoch == 0; at = stream.after(at)) {
    for (const MicroBatch& batch : stream.micro_batches(at, {})) {
      std::set<std::int64_t> images;
      for (const Pair& pair : stream.pairs(at, batch.first, batch.last)) images.insert(pair.image);
      distinct.push_back(images.size());
    }
  }
  std::ranges::sort(distinct);
  const double mean = std::accumulate(distinct.begin(), distinct.end(), 0.) / static_cast<double>(distinct.size());
  EXPECT_GE(distinct[distinct.size() / 20], 10U);
  EXPECT_GE(mean, 14);  // of 17 in the shuffled order
}

TEST(ShapeOrder, WhichImagesOfAShapeMeetIsDrawnAnewInEveryEpochAsWithoutGrouping) {
  constexpr std::int64_t kEpochs = 40;
  const Photographs photographs = {960, one, mixed};
  StreamConfig config = {.global_batch = 96, .micro_batch = 8, .texts_per_image = 1, .blocks_in_window = 32};
  const Meetings grouped = meetings_of(stream_of(photographs, config), kEpochs);
  config.group_shapes = false;
  const Meetings shuffled = meetings_of(stream_of(photographs, config), kEpochs);
  EXPECT_NEAR(shuffled.mean, kEpochs * 7. / 959, 0.01);
  EXPECT_NEAR(grouped.mean, kEpochs * 7. / 119, 0.2);  // 120 images of a shape; a few meet images of the next one
  // Were the same images together in every epoch, the variance would be kEpochs times the mean.
  EXPECT_NEAR(shuffled.variance_by_mean, 1 - shuffled.mean / kEpochs, 0.03);
  EXPECT_NEAR(grouped.variance_by_mean, 1 - grouped.mean / kEpochs, 0.06);
}

TEST(ShapeOrder, EveryShapeComesInEveryStepOfASectionAlike) {
  constexpr std::int64_t kEpochs = 300, kSteps = 16;
  const StreamConfig config = {.global_batch = 1024, .micro_batch = 16, .texts_per_image = 1};  // 16 steps of 64
  const SampleStream stream = stream_of({kSteps * 1024, one, mixed}, config);
  ASSERT_EQ(stream.steps_per_epoch(), kSteps);
  std::map<std::pair<std::int64_t, std::int64_t>, double> seen;  // of a shape, in a step
  std::map<std::int64_t, double> of_shape;
  for (std::int64_t image = 0; image < kSteps * 1024; ++image) ++of_shape[shape_number(image)];
  for (Position at; at.epoch < kEpochs; at = stream.after(at)) {
    for (const MicroBatch& batch : stream.micro_batches(at, {})) {
      const Pair first = stream.pairs(at, batch.first, batch.first + 1)[0];
      seen[{shape_number(first.image), at.step}] += 16;
    }
  }
  for (std::int64_t number = 0; number < kShapes; ++number) {
    for (std::int64_t step = 0; step < kSteps; ++step) {
      const double share = seen[{number, step}] / (kEpochs * of_shape[number] / kSteps);
      EXPECT_NEAR(share, 1, 0.5) << "shape " << number << ", step " << step;  // three standard deviations
    }
  }
}

TEST(ShapeOrder, NegativesAreTextsOfImagesOfAnyShape) {
  const SampleStream stream = stream_of({2000, four, mixed}, {.global_batch = 512, .micro_batch = 64});
  double own = 0, drawn = 0;
  for (std::int64_t index = 0; index < 512; ++index) {
    const Pair pair = stream.pairs({0, 1}, index, index + 1)[0];
    for (std::int64_t draw = 0; draw < 100; ++draw) {
      const auto other = stream.pair_of_another_image({0, 1}, index, key(index, draw));
      if (!other) continue;
      ASSERT_NE(other->image, pair.image);
      own += shape_number(other->image) == shape_number(pair.image);
      ++drawn;
    }
  }
  EXPECT_NEAR(own / drawn, 1. / kShapes, 0.02);
}

TEST(ShapeOrder, TwoImagesOfASampleCountAsTwo) {
  const auto two = [](std::int64_t image) {
    const Shape left = mixed(2 * image), right = mixed(2 * image + 1);
    return Shape{.height = std::max(left.height, right.height),
                 .width = std::max(left.width, right.width),
                 .images = 2,
                 .pixels = left.pixels + right.pixels};
  };
  StreamConfig config = {.global_batch = 128, .micro_batch = 8, .texts_per_image = 1};
  const SampleStream stream = stream_of({10'000, one, two}, config);
  EXPECT_EQ(stream.shape({0, 0}, 0, 8).images, 16);
  config.group_shapes = false;
  const Work grouped = work_of(stream, 0, 16), shuffled = work_of(stream_of({10'000, one, two}, config), 0, 16);
  EXPECT_LT(grouped.busiest, 0.75 * shuffled.busiest);
}

TEST(ShapeOrder, SaysWhatAMicroBatchTakesUp) {
  const SampleStream stream = stream_of({10, four, mixed}, {.global_batch = 40, .micro_batch = 40});
  Shape expected;
  for (std::int64_t image = 0; image < 10; ++image) {
    const Shape shape = mixed(image);
    expected.height = std::max(expected.height, shape.height);
    expected.width = std::max(expected.width, shape.width);
    expected.pixels += shape.pixels;
    ++expected.images;
  }
  EXPECT_EQ(stream.shape({0, 0}, 0, 40), expected);
  EXPECT_EQ(stream.shape({0, 0}, 0, 0), Shape());
  EXPECT_EQ(stream_of({10, four, nullptr}, {.global_batch = 40, .micro_batch = 40}).shape({0, 0}, 0, 40), Shape());
}

}  // namespace
}  // namespace pixelbert::data
