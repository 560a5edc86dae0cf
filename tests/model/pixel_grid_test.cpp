#include "model/pixel_grid.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace pixelbert::model {
namespace {

using ::testing::ElementsAre;

std::int64_t conv_size(std::int64_t size, std::int64_t kernel, std::int64_t padding) {
  return (size + 2 * padding - kernel) / 2 + 1;
}

TEST(BackboneGrid, IsWhatFiveStridedConvolutionsLeave) {
  for (std::int64_t size = 1; size <= 1400; ++size) {
    std::int64_t expected = conv_size(size, 7, 3);                                    // stem
    for (int stride = 0; stride < 4; ++stride) expected = conv_size(expected, 3, 1);  // max-pool, layer2 to layer4
    EXPECT_EQ(backbone_grid({size, 1}).height, expected) << size;
    EXPECT_EQ(backbone_grid({1, size}).width, expected) << size;
  }
}

TEST(PooledGrid, GivesTheTokenCountsOfThePapersImageSizes) {
  const auto tokens = [](std::int64_t height, std::int64_t width) {
    return pooled_grid(backbone_grid({height, width})).cells();
  };
  EXPECT_EQ(tokens(800, 1333), 252);
  EXPECT_EQ(tokens(800, 1067), 204);
  EXPECT_EQ(tokens(600, 1000), 144);
  EXPECT_EQ(tokens(600, 600), 81);
}

TEST(PooledGrid, IsNeverEmpty) {
  for (std::int64_t height = 1; height < 6; ++height) {
    for (std::int64_t width = 1; width < 6; ++width) EXPECT_GE(pooled_grid({height, width}).cells(), 1);
  }
  EXPECT_EQ(pooled_grid({1, 5}), (Grid{1, 2}));
}

TEST(TokenCount, IsAllWhenFewerThanWantedOrNoneIsWanted) {
  EXPECT_EQ(token_count(81, 100), 81);
  EXPECT_EQ(token_count(252, 100), 100);
  EXPECT_EQ(token_count(252, 0), 252);
}

TEST(SampleWithoutReplacement, IsAscendingDistinctAndInRange) {
  for (std::int64_t total = 0; total <= 40; ++total) {
    for (std::int64_t count = 0; count <= total; ++count) {
      const auto chosen = sample_without_replacement(total, count, static_cast<std::uint64_t>(97 * total + count));
      ASSERT_EQ(static_cast<std::int64_t>(chosen.size()), count);
      EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end(), std::less_equal<>()) || count < 2);
      EXPECT_EQ(std::set(chosen.begin(), chosen.end()).size(), chosen.size());
      for (const std::int64_t cell : chosen) EXPECT_TRUE(0 <= cell && cell < total);
    }
  }
}

TEST(SampleWithoutReplacement, IsAFunctionOfTheKey) {
  EXPECT_EQ(sample_without_replacement(252, 100, 5), sample_without_replacement(252, 100, 5));
  EXPECT_NE(sample_without_replacement(252, 100, 5), sample_without_replacement(252, 100, 6));
  EXPECT_THAT(sample_without_replacement(3, 3, 1), ElementsAre(0, 1, 2));
}

TEST(SampleWithoutReplacement, TakesEveryCellEquallyOften) {
  constexpr int kDraws = 20000;
  std::array<int, 20> taken{};
  for (std::uint64_t key = 0; key < kDraws; ++key) {
    for (const std::int64_t cell : sample_without_replacement(20, 5, key)) ++taken[static_cast<std::size_t>(cell)];
  }
  const double expected = kDraws * 5.0 / 20;
  const double deviation = std::sqrt(kDraws * 0.25 * 0.75);
  for (const int count : taken) EXPECT_NEAR(count, expected, 5 * deviation);
}

}  // namespace
}  // namespace pixelbert::model
