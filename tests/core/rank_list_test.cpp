#include "core/rank_list.h"

#include <gtest/gtest.h>

namespace pixelbert {
namespace {

TEST(RankList, JoinsNeighbours) {
  EXPECT_EQ(rank_list({0, 1, 2, 3, 7}), "ranks 0-3,7");
  EXPECT_EQ(rank_list({0, 2}), "ranks 0,2");
  EXPECT_EQ(rank_list({4, 5}), "ranks 4-5");
  EXPECT_EQ(rank_list({6}), "rank 6");
  EXPECT_EQ(ranges({}), "");
}

}  // namespace
}  // namespace pixelbert
