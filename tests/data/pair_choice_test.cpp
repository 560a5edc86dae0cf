#include "data/pair_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/rng.h"

namespace pixelbert::data {
namespace {

std::vector<Sample> samples_of(std::int64_t count) {
  std::vector<Sample> samples;
  for (std::int64_t i = 0; i < count; ++i) samples.push_back({.pair = {0, i, i}, .text = "text " + std::to_string(i)});
  return samples;
}

// Draws among 1000 other images.
std::optional<Sample> draw_any(std::int64_t, std::uint64_t key) {
  const auto row = static_cast<std::int64_t>(Random(key).below(1000));
  return Sample{.pair = {0, row, row}, .text = "text " + std::to_string(row)};
}

std::int64_t negatives(const std::vector<Sample>& samples) {
  return std::count_if(samples.begin(), samples.end(), [](const Sample& sample) { return !sample.matched; });
}

TEST(ChoosePairs, ExactlyHalfBecomeNegatives) {
  for (std::int64_t count = 0; count <= 65; ++count) {
    for (std::uint64_t key = 0; key < 20; ++key) {
      std::vector<Sample> samples = samples_of(count);
      choose_pairs(samples, draw_any, key);
      if (count % 2 == 0) {
        ASSERT_EQ(negatives(samples), count / 2);
      } else {
        ASSERT_THAT(negatives(samples), testing::AnyOf(count / 2, count / 2 + 1));
      }
      for (std::int64_t i = 0; i < count; ++i) {
        const Sample& sample = samples[static_cast<std::size_t>(i)];
        ASSERT_EQ(sample.pair.image, i);
        ASSERT_EQ(sample.matched, sample.pair.text == i);
        ASSERT_EQ(sample.text, "text " + std::to_string(sample.pair.text));
      }
    }
  }
}

TEST(ChoosePairs, EveryPairIsNegativeHalfOfTheTime) {
  std::vector<int> times(16);
  constexpr int kRuns = 4000;
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    std::vector<Sample> samples = samples_of(16);
    choose_pairs(samples, draw_any, key(run));
    for (std::size_t i = 0; i < 16; ++i) times[i] += !samples[i].matched;
  }
  for (const int count : times) EXPECT_NEAR(count, kRuns / 2, 5 * std::sqrt(kRuns / 4.0));
}

TEST(ChoosePairs, OfAnOddNumberHalfAreNegativeOnTheWhole) {
  for (const std::int64_t count : {1, 3}) {
    std::int64_t all = 0;
    constexpr std::int64_t kRuns = 4000;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
      std::vector<Sample> samples = samples_of(count);
      choose_pairs(samples, draw_any, key(run));
      all += negatives(samples);
    }
    EXPECT_NEAR(static_cast<double>(all), count * kRuns / 2.0, 5 * std::sqrt(kRuns / 4.0)) << count;
  }
}

TEST(ChoosePairs, SkipsTheOwnImageAndTheSameWords) {
  std::vector<Sample> samples = samples_of(32);
  const auto draw = [&](std::int64_t index, std::uint64_t key) -> std::optional<Sample> {
    switch (Random(key).below(4)) {
      case 0:
        return std::nullopt;
      case 1:
        return Sample{.pair = {0, index, 777}, .text = "another text of the same image"};
      case 2:
        return Sample{.pair = {0, 500, 500}, .text = "text " + std::to_string(index)};
      default:
        return Sample{.pair = {0, 600, 600}, .text = "fit"};
    }
  };
  choose_pairs(samples, draw, 5);
  EXPECT_GE(negatives(samples), 15);  // 16, except with a chance of 0.75^16 each
  for (const Sample& sample : samples) {
    EXPECT_TRUE(sample.matched || sample.text == "fit") << sample.text;
  }
}

TEST(ChoosePairs, StaysMatchedAfterSixteenVainDraws) {
  std::vector<Sample> samples = samples_of(8);
  std::multiset<std::int64_t> draws;
  choose_pairs(
      samples,
      [&](std::int64_t index, std::uint64_t) -> std::optional<Sample> {
        draws.insert(index);
        return std::nullopt;
      },
      5);
  EXPECT_EQ(negatives(samples), 0);
  EXPECT_EQ(draws.size(), 4 * 16u);
}

TEST(ChoosePairs, IsDecidedByTheKey) {
  const auto texts = [](std::uint64_t key) {
    std::vector<Sample> samples = samples_of(32);
    choose_pairs(samples, draw_any, key);
    std::vector<std::int64_t> rows;
    for (const Sample& sample : samples) rows.push_back(sample.pair.text);
    return rows;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
}

}  // namespace
}  // namespace pixelbert::data
