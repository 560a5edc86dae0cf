#include "core/recently_used.h"

#include <gtest/gtest.h>

namespace pixelbert {
namespace {

TEST(RecentlyUsed, DropsWhatWasNotUsedForLongest) {
  RecentlyUsed<int, int> cache(2);
  int made = 0;
  const auto get = [&](int key) {
    return *cache.get(key, [&] {
      ++made;
      return std::make_shared<const int>(10 * key);
    });
  };
  EXPECT_EQ(get(1), 10);
  EXPECT_EQ(get(2), 20);
  EXPECT_EQ(get(1), 10);
  EXPECT_EQ(made, 2);
  EXPECT_EQ(get(3), 30);  // drops 2
  EXPECT_EQ(get(1), 10);
  EXPECT_EQ(made, 3);
  EXPECT_EQ(get(2), 20);
  EXPECT_EQ(made, 4);
}

TEST(RecentlyUsed, ADroppedValueLivesWhileItIsHeld) {
  RecentlyUsed<int, int> cache(1);
  const std::shared_ptr<const int> held = cache.get(1, [] { return std::make_shared<const int>(10); });
  cache.get(2, [] { return std::make_shared<const int>(20); });
  EXPECT_EQ(*held, 10);
}

}  // namespace
}  // namespace pixelbert
