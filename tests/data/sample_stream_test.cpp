#include "data/sample_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <thread>
#include <tuple>

#include "core/check.h"
#include "core/rng.h"
#include "tests/data/stream_pairs.h"

namespace pixelbert::data {
namespace {

// Texts of every image of every data set.
using World = std::vector<std::vector<std::int64_t>>;

std::vector<Block> blocks_of(const World& world, std::int64_t images_per_block) {
  std::vector<Block> blocks;
  for (std::size_t set = 0; set < world.size(); ++set) {
    Block block{.data_set = static_cast<std::int32_t>(set)};
    for (std::size_t first = 0; first < world[set].size(); first += static_cast<std::size_t>(images_per_block)) {
      const auto last = std::min(world[set].size(), first + static_cast<std::size_t>(images_per_block));
      block.images = static_cast<std::int64_t>(last - first);
      block.texts = std::accumulate(world[set].begin() + static_cast<std::ptrdiff_t>(first),
                                    world[set].begin() + static_cast<std::ptrdiff_t>(last), std::int64_t{0});
      blocks.push_back(block);
      block.first_image += block.images;
      block.first_text += block.texts;
    }
  }
  return blocks;
}

SampleStream::TextCounts counts_of(const World& world) {
  return [world](const Block& block) {
    const auto first = world[static_cast<std::size_t>(block.data_set)].begin() + block.first_image;
    return std::vector<std::int64_t>(first, first + block.images);
  };
}

SampleStream stream_of(const World& world, StreamConfig config, std::uint64_t seed = 0,
                       std::int64_t images_per_block = 4) {
  config.micro_batch = std::min(config.micro_batch, config.global_batch);
  return {blocks_of(world, images_per_block), counts_of(world), config, seed};
}

std::vector<Pair> all_pairs(const World& world) {
  std::vector<Pair> pairs;
  for (std::size_t set = 0; set < world.size(); ++set) {
    Pair pair{.data_set = static_cast<std::int32_t>(set)};
    for (const std::int64_t texts : world[set]) {
      for (std::int64_t i = 0; i < texts; ++i, ++pair.text) pairs.push_back(pair);
      ++pair.image;
    }
  }
  return pairs;
}

std::vector<Pair> sorted(std::vector<Pair> pairs) {
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
    return std::tie(a.data_set, a.text, a.image) < std::tie(b.data_set, b.text, b.image);
  });
  return pairs;
}

// Ragged numbers of texts, some images without any.
World ragged(std::uint64_t seed, const std::vector<std::int64_t>& images) {
  Random random(seed);
  World world;
  for (const std::int64_t count : images) {
    world.emplace_back();
    for (std::int64_t i = 0; i < count; ++i) world.back().push_back(static_cast<std::int64_t>(random.below(10)));
  }
  return world;
}

std::vector<World> worlds() {
  return {
      {{1}}, {{7}}, {{0, 0, 3}}, {{5, 5, 5, 5, 5}}, ragged(1, {30}), ragged(2, {17, 1, 40}), ragged(3, {100, 0, 9})};
}

std::vector<StreamConfig> configs() {
  std::vector<StreamConfig> configs;
  for (const std::int64_t batch : {1, 7, 64, 1000}) {
    for (const std::int64_t group : {1, 4}) {
      for (const std::int64_t window : {1, 3, 16}) {
        configs.push_back({.global_batch = batch, .texts_per_image = group, .blocks_in_window = window});
      }
    }
  }
  return configs;
}

TEST(SampleStream, EveryPairComesExactlyOnceInEveryEpoch) {
  for (const World& world : worlds()) {
    for (const StreamConfig& config : configs()) {
      for (const std::uint64_t seed : {0, 9}) {
        const SampleStream stream = stream_of(world, config, seed);
        EXPECT_EQ(stream.pairs_per_epoch(), std::ssize(all_pairs(world)));
        for (const std::int64_t epoch : {0, 5}) ASSERT_EQ(sorted(test::epoch_of(stream, epoch)), all_pairs(world));
      }
    }
  }
}

TEST(SampleStream, EveryStepIsFullButTheLastOfAnEpoch) {
  for (const World& world : worlds()) {
    for (const StreamConfig& config : configs()) {
      for (const std::uint64_t seed : {0, 9}) {
        const SampleStream stream = stream_of(world, config, seed);
        std::int64_t left = stream.pairs_per_epoch();
        for (Position at{2, 0}; at.epoch == 2; at = stream.after(at)) {
          ASSERT_EQ(stream.pairs_in_step(at), std::min(left, config.global_batch));
          ASSERT_EQ(std::ssize(test::step_of(stream, at)), stream.pairs_in_step(at));
          left -= stream.pairs_in_step(at);
        }
        ASSERT_EQ(left, 0);
      }
    }
  }
}

TEST(SampleStream, SeveralStepsAtOnceAreAsManyOneByOne) {
  const SampleStream stream = SampleStream(
      {Block{0, 0, 10, 0, 10}}, [](const Block&) { return std::vector<std::int64_t>(10, 1); },
      {.global_batch = 3, .micro_batch = 3}, 0);
  Position one_by_one;
  for (std::int64_t steps = 0; steps < 20; ++steps) {
    EXPECT_EQ(stream.after({}, steps), one_by_one) << steps;
    one_by_one = stream.after(one_by_one);
  }
}

TEST(SampleStream, RanksJoinToTheGlobalBatchAtAnyWorldSize) {
  const World world = ragged(4, {50, 30});
  for (const std::int64_t batch : {1, 30, 64, 500}) {
    const SampleStream stream = stream_of(world, {.global_batch = batch}, 3);
    for (const std::int64_t micro : {1, 5, 16}) {
      for (int world_size = 1; world_size <= 16; ++world_size) {
        for (Position at{1, 0}; at.epoch == 1; at = stream.after(at)) {
          std::vector<Pair> joined;
          std::int64_t index = 0;
          for (int rank = 0; rank < world_size; ++rank) {
            for (const MicroBatch& mine : micro_batches(stream.pairs_in_step(at), micro, {rank, world_size})) {
              ASSERT_EQ(mine.index, index++);
              ASSERT_LE(mine.last - mine.first, micro);
              const std::vector<Pair> pairs = stream.pairs(at, mine.first, mine.last);
              joined.insert(joined.end(), pairs.begin(), pairs.end());
            }
          }
          ASSERT_EQ(joined, test::step_of(stream, at));
        }
      }
    }
  }
}

TEST(SampleStream, RanksOwnNearlyEqualNumbersOfMicroBatches) {
  for (int world_size = 1; world_size <= 16; ++world_size) {
    for (std::int64_t pairs = 0; pairs < 100; ++pairs) {
      std::size_t fewest = 100, most = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const std::size_t mine = micro_batches(pairs, 3, {rank, world_size}).size();
        fewest = std::min(fewest, mine);
        most = std::max(most, mine);
      }
      ASSERT_LE(most - fewest, 1u);
    }
  }
}

TEST(SampleStream, IsTheSameAfterBeingMadeAgainAndInAnyOrderOfAsking) {
  const World world = ragged(5, {60, 60});
  const StreamConfig config{.global_batch = 16, .blocks_in_window = 2};
  const SampleStream first = stream_of(world, config, 11);
  const std::vector<Pair> epoch = test::epoch_of(first, 3);
  const SampleStream again = stream_of(world, config, 11);
  for (std::int64_t step = again.steps_per_epoch(); step-- > 0;) {
    const std::vector<Pair> pairs = test::step_of(again, {3, step});
    ASSERT_TRUE(std::equal(pairs.begin(), pairs.end(), epoch.begin() + step * 16)) << step;
  }
}

TEST(SampleStream, OrderAndGroupsDifferBetweenEpochsAndSeeds) {
  const World world = {{12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12}};
  const auto groups = [&](std::uint64_t seed, std::int64_t epoch) {
    const SampleStream stream = stream_of(world, {.global_batch = 1000, .texts_per_image = 4}, seed);
    std::set<std::set<std::int64_t>> sets;
    const std::vector<Pair> pairs = test::epoch_of(stream, epoch);
    for (std::size_t i = 0; i < pairs.size(); i += 4) {
      sets.insert({pairs[i].text, pairs[i + 1].text, pairs[i + 2].text, pairs[i + 3].text});
    }
    return sets;
  };
  const SampleStream stream = stream_of(world, {.global_batch = 1000}, 0);
  const SampleStream other = stream_of(world, {.global_batch = 1000}, 1);
  EXPECT_NE(test::epoch_of(stream, 0), test::epoch_of(stream, 1));
  EXPECT_NE(test::epoch_of(stream, 0), test::epoch_of(other, 0));
  EXPECT_EQ(groups(0, 0), groups(0, 0));
  EXPECT_NE(groups(0, 0), groups(0, 1));
  EXPECT_NE(groups(0, 0), groups(1, 0));
}

TEST(SampleStream, TheUnitsOfABlockAreShuffledAnewInEveryEpoch) {
  const World world = {std::vector<std::int64_t>(60, 1)};
  const SampleStream stream = stream_of(world, {.global_batch = 60}, 0, 60);  // one block
  EXPECT_NE(test::epoch_of(stream, 0), all_pairs(world));
  EXPECT_NE(test::epoch_of(stream, 0), test::epoch_of(stream, 1));
}

TEST(SampleStream, AnImagesTextsComeInFewGroupsOfNearlyEqualSize) {
  constexpr std::int64_t kImages = 40;
  for (std::int64_t texts = 1; texts <= 11; ++texts) {
    const SampleStream stream = stream_of({std::vector<std::int64_t>(kImages, texts)}, {.global_batch = 1 << 20});
    std::map<std::int64_t, std::vector<std::int64_t>> runs;  // of each image
    const std::vector<Pair> epoch = test::epoch_of(stream, 0);
    for (std::size_t i = 0; i < epoch.size(); ++i) {
      if (i == 0 || epoch[i].image != epoch[i - 1].image) runs[epoch[i].image].push_back(0);
      ++runs[epoch[i].image].back();
    }
    std::size_t separate = 0;  // images whose groups are not neighbours by chance
    for (const auto& [image, lengths] : runs) {
      if (std::ssize(lengths) != (texts + 3) / 4) continue;
      ++separate;
      const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
      EXPECT_LE(*longest, 4);
      EXPECT_LE(*longest - *shortest, 1);
    }
    EXPECT_GE(separate, kImages * 3 / 4u);
  }
}

TEST(SampleStream, NeighbouringStepsReadFromFewBlocks) {
  constexpr std::int64_t kImagesPerBlock = 8, kWindow = 4;
  const World world = {std::vector<std::int64_t>(800, 5)};
  const SampleStream stream = stream_of(world, {.global_batch = 16, .blocks_in_window = kWindow}, 0, kImagesPerBlock);
  for (std::int64_t step = 0; step + 1 < stream.steps_per_epoch(); ++step) {
    std::set<std::int64_t> blocks;
    for (const Position at : {Position{0, step}, Position{0, step + 1}}) {
      for (const Pair& pair : test::step_of(stream, at)) blocks.insert(pair.image / kImagesPerBlock);
    }
    ASSERT_LE(std::ssize(blocks), 2 * kWindow);  // two windows, where one ends
  }
}

TEST(SampleStream, AWindowMixesItsBlocks) {
  const SampleStream stream = stream_of({std::vector<std::int64_t>(800, 5)}, {.global_batch = 100}, 0, 8);
  std::set<std::int64_t> blocks;
  for (const Pair& pair : test::step_of(stream, {0, 0})) blocks.insert(pair.image / 8);
  EXPECT_GE(blocks.size(), 8u);  // of 16 in the window; in order they would be 3
}

TEST(SampleStream, PairsOfAnotherImageAreOfTheSameDataSetAndEvenlySpread) {
  const World world = ragged(6, {12, 12});
  const SampleStream stream = stream_of(world, {.global_batch = 1000});
  const std::vector<Pair> epoch = test::step_of(stream, {0, 0});
  std::map<std::int64_t, int> drawn;  // text -> times
  constexpr std::int64_t kDraws = 20000;
  for (std::int64_t draw = 0; draw < kDraws; ++draw) {
    const auto other = stream.pair_of_another_image({0, 0}, 0, key(draw));
    if (!other) continue;
    ASSERT_EQ(other->data_set, epoch[0].data_set);
    ASSERT_NE(other->image, epoch[0].image);
    ASSERT_EQ(std::count(epoch.begin(), epoch.end(), *other), 1);
    ++drawn[other->text];
  }
  std::int64_t candidates = 0, own = 0;
  for (const Pair& pair : epoch) {
    candidates += pair.data_set == epoch[0].data_set;
    own += pair.data_set == epoch[0].data_set && pair.image == epoch[0].image;
  }
  EXPECT_EQ(std::ssize(drawn), candidates - own);
  for (const auto& [text, times] : drawn) EXPECT_NEAR(times, kDraws / candidates, 0.25 * kDraws / candidates);
}

TEST(SampleStream, PairsOfAnyImageComeFromTheWholeDataSet) {
  const World world = {std::vector<std::int64_t>(30, 2), std::vector<std::int64_t>(9, 3)};
  const SampleStream stream = stream_of(world, {.global_batch = 1000, .blocks_in_window = 1});
  const std::vector<Pair> epoch = test::step_of(stream, {0, 0});
  for (const std::int64_t index : {0, 40, 86}) {
    const Pair& own = epoch[static_cast<std::size_t>(index)];
    std::set<std::int64_t> texts;
    for (std::int64_t draw = 0; draw < 2000; ++draw) {
      const auto other = stream.pair_of_any_image({0, 0}, index, key(draw));
      if (!other) continue;
      ASSERT_EQ(other->data_set, own.data_set);
      ASSERT_NE(other->image, own.image);
      ASSERT_EQ(std::count(epoch.begin(), epoch.end(), *other), 1);
      texts.insert(other->text);
    }
    EXPECT_EQ(std::ssize(texts), own.data_set == 0 ? 58 : 24);
  }
}

TEST(SampleStream, HasNoPairOfAnotherImageWhereThereIsOneImage) {
  const SampleStream stream = stream_of({{5}, {5, 5}}, {.global_batch = 100});
  const std::vector<Pair> epoch = test::step_of(stream, {0, 0});
  for (std::int64_t i = 0; i < std::ssize(epoch); ++i) {
    if (epoch[static_cast<std::size_t>(i)].data_set != 0) continue;
    for (std::uint64_t draw = 0; draw < 50; ++draw) EXPECT_FALSE(stream.pair_of_another_image({0, 0}, i, draw));
  }
}

// About COCO and Visual Genome: 6 million pairs. Counts are computed, so only the stream itself could hold them.
TEST(SampleStream, AnswersAtOnceAnywhereInMillionsOfPairsAndAsksForFewBlocks) {
  constexpr std::int64_t kImages = 221'000, kImagesPerBlock = 128;
  const auto texts = [](std::int64_t image) { return image % 55; };
  std::vector<Block> blocks;
  Block block;
  for (std::int64_t first = 0; first < kImages; first += kImagesPerBlock) {
    block.first_image = first;
    block.images = std::min(kImagesPerBlock, kImages - first);
    block.texts = 0;
    for (std::int64_t i = first; i < first + block.images; ++i) block.texts += texts(i);
    blocks.push_back(block);
    block.first_text += block.texts;
  }
  std::int64_t asked = 0;
  const SampleStream stream(
      blocks,
      [&](const Block& wanted) {
        ++asked;
        std::vector<std::int64_t> counts;
        for (std::int64_t i = 0; i < wanted.images; ++i) counts.push_back(texts(wanted.first_image + i));
        return counts;
      },
      {.global_batch = 4096}, 1);
  ASSERT_GT(stream.pairs_per_epoch(), 5'900'000);
  EXPECT_EQ(asked, 0);

  std::vector<bool> seen(static_cast<std::size_t>(stream.pairs_per_epoch()));
  for (std::int64_t step = 0; step < stream.steps_per_epoch(); ++step) {
    for (const Pair& pair : test::step_of(stream, {7, step})) {
      ASSERT_FALSE(seen[static_cast<std::size_t>(pair.text)]);
      seen[static_cast<std::size_t>(pair.text)] = true;
    }
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), stream.pairs_per_epoch());
  EXPECT_EQ(asked, std::ssize(blocks));  // in order, each window was made once

  asked = 0;
  EXPECT_EQ(std::ssize(stream.pairs({31, 700}, 1000, 1064)), 64);
  EXPECT_LE(asked, 2 * 16);
}

TEST(SampleStream, AnswersSeveralThreadsAlike) {
  const World world = ragged(7, {300, 200});
  const StreamConfig config{.global_batch = 32, .blocks_in_window = 1};
  const SampleStream reference = stream_of(world, config, 2);
  const std::vector<Pair> expected = test::epoch_of(reference, 0);
  const SampleStream stream = stream_of(world, config, 2);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (std::int64_t thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::int64_t i = 0; i < stream.steps_per_epoch(); ++i) {
          const std::int64_t step = (i * (2 * thread + 1)) % stream.steps_per_epoch();
          const std::vector<Pair> pairs = test::step_of(stream, {0, step});
          wrong += !std::equal(pairs.begin(), pairs.end(), expected.begin() + step * 32);
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST(SampleStream, SaysWhatIsWrongWithDataAndQuestions) {
  const auto message = [](auto&& action) {
    try {
      action();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  using testing::HasSubstr;
  EXPECT_THAT(message([] { stream_of({{0, 0}}, {.global_batch = 4}); }), HasSubstr("no image with a text"));
  EXPECT_THAT(message([] { stream_of({{1}}, {.global_batch = 0}); }), HasSubstr("--data.global-batch must be from 1"));

  const SampleStream stream = stream_of({{3, 3}}, {.global_batch = 4});
  EXPECT_THAT(message([&] { stream.pairs({0, 2}, 0, 1); }), HasSubstr("no step 2 of epoch 0: an epoch has 2 steps"));
  EXPECT_THAT(message([&] { stream.pairs({0, 1}, 1, 3); }), HasSubstr("no pairs [1, 3) in a step of 2"));
  EXPECT_THAT(message([&] { micro_batches(4, 2, {3, 3}); }), HasSubstr("no rank 3 of 3"));

  const SampleStream stale(blocks_of({{3, 3}}, 4), counts_of({{3, 2}}), {.global_batch = 4, .micro_batch = 4}, 0);
  EXPECT_THAT(message([&] { stale.pairs({0, 0}, 0, 1); }), HasSubstr("the manifest does not belong to its files"));
}

TEST(SampleStream, TakesNoMemoryForWhatAManifestClaimsBeforeTheFilesAreRead) {
  const std::int64_t claimed = std::int64_t{1} << 40;
  const SampleStream stream(
      {{0, 0, 128, 0, claimed}}, [](const Block&) { return std::vector<std::int64_t>(128, 1); },
      {.global_batch = 4, .micro_batch = 4}, 0);
  EXPECT_THAT([&] { stream.pairs({0, 0}, 0, 4); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("the manifest does not belong to its files")));
}

}  // namespace
}  // namespace pixelbert::data
