#include "comm/rank_layout.h"

#include <gmock/gmock.h>

namespace pixelbert::comm {
namespace {

using ::testing::ElementsAre;

TEST(RankLayout, GroupsRanksByHostAndByTheirPlaceThere) {
  const RankLayout layout({0, 0, 2, 2, 4, 4}, 3);
  EXPECT_THAT(layout.hosts, ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4, 5)));
  EXPECT_THAT(layout.in_host.ranks, ElementsAre(2, 3));
  EXPECT_EQ(layout.in_host.me, 1);
  EXPECT_THAT(layout.across.ranks, ElementsAre(1, 3, 5));
  EXPECT_EQ(layout.across.me, 1);
}

TEST(RankLayout, TakesRanksThatAreDealtHostByHost) {
  const RankLayout layout({0, 1, 0, 1}, 2);
  EXPECT_THAT(layout.in_host.ranks, ElementsAre(0, 2));
  EXPECT_THAT(layout.across.ranks, ElementsAre(2, 3));
}

TEST(RankLayout, CountsEachRankAsAHostWhereHostsDiffer) {
  const RankLayout layout({0, 0, 2}, 1);
  EXPECT_THAT(layout.in_host.ranks, ElementsAre(1));
  EXPECT_THAT(layout.across.ranks, ElementsAre(0, 1, 2));
  EXPECT_EQ(layout.across.me, 1);
}

TEST(Cut, CoversTheWholeWithPartsThatBeginWithACell) {
  for (const std::int64_t size : {0, 1, 1023, 1024, 1025, 5000, 100000}) {
    for (const int parts : {1, 2, 3, 7}) {
      std::int64_t at = 32;
      for (const Range part : cut({32, 32 + size}, parts)) {
        EXPECT_EQ(part.begin, at);
        EXPECT_TRUE(part.size() == 0 || (part.begin - 32) % kCell == 0);
        at = part.end;
      }
      EXPECT_EQ(at, 32 + size);
    }
  }
}

}  // namespace
}  // namespace pixelbert::comm
