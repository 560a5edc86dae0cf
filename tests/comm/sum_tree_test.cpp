#include "comm/sum_tree.h"

#include <gmock/gmock.h>

#include <numeric>
#include <random>
#include <string>

#include "core/check.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::comm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string bracket(const std::string& left, const std::string& right) {
  return "(" + left + "+" + right + ")";
}

// Makes the additions on texts, so that their brackets show.
std::vector<std::string> add_up(const Merged& merged, std::vector<std::string> values) {
  std::vector<std::string> sums(merged.nodes.size());
  for (const auto& [into, from, completes] : merged.additions) {
    values[into] = bracket(values[into], values[from]);
    if (completes) sums[*completes] = values[into];
  }
  for (const auto& [position, node] : merged.unchanged) sums[node] = values[position];
  return sums;
}

std::vector<std::int64_t> random_bounds(std::mt19937& random, std::int64_t leaves, int ranks) {
  std::vector<std::int64_t> bounds = {0, leaves};
  while (std::ssize(bounds) < ranks + 1) bounds.push_back(static_cast<std::int64_t>(random() % (leaves + 1)));
  std::ranges::sort(bounds);
  return bounds;
}

TEST(SumTree, HasTheSameBracketsHoweverTheLeavesAreDealt) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 2000; ++trial) {
    const auto leaves = static_cast<std::int64_t>(1 + random() % 40);
    const int ranks = static_cast<int>(1 + random() % 12);
    const SumTree tree(random_bounds(random, leaves, ranks));
    std::vector<std::string> all;
    for (std::int64_t i = 0; i < leaves; ++i) all.push_back(std::to_string(i));

    std::vector<Node> nodes;
    std::vector<std::string> values;
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<Node> mine;
      std::vector<std::string> of_leaves;
      for (std::int64_t i = tree.first_leaf(rank); i < tree.end_leaf(rank); ++i) {
        mine.push_back(tree.leaf(i));
        of_leaves.push_back(all[i]);
        EXPECT_EQ(tree.owner(i), rank);
      }
      const Merged merged = tree.merge(mine);
      EXPECT_EQ(merged.nodes, tree.nodes(rank));
      EXPECT_LE(std::ssize(merged.nodes), tree.most_values(rank));
      nodes.insert(nodes.end(), merged.nodes.begin(), merged.nodes.end());
      for (std::string& sum : add_up(merged, of_leaves)) values.push_back(std::move(sum));
    }
    const std::string expected = test::tree_sum(std::span<const std::string>(all), bracket);
    EXPECT_THAT(add_up(tree.merge(nodes), values), ElementsAre(expected));

    // Hosts whose ranks are dealt in turn have nodes in another order.
    std::vector<std::size_t> order(nodes.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::shuffle(order, random);
    std::vector<Node> mixed;
    std::vector<std::string> mixed_values;
    for (const std::size_t i : order) {
      mixed.push_back(nodes[i]);
      mixed_values.push_back(values[i]);
    }
    EXPECT_THAT(add_up(tree.merge(mixed), mixed_values), ElementsAre(expected));
  }
}

TEST(SumTree, NeedsNoMoreThanOneValueForEachDoubling) {
  const auto most = [](std::int64_t leaves) { return SumTree({0, leaves}).most_values(0); };
  EXPECT_EQ(most(1), 1);
  EXPECT_EQ(most(2), 1);
  EXPECT_EQ(most(4), 2);
  EXPECT_EQ(most(8), 3);
  EXPECT_EQ(most(64), 6);
  EXPECT_EQ(most(3), 1) << "the third leaf is the right child of the root";
  EXPECT_EQ(SumTree({0, 1, 3, 8}).most_values(1), 2) << "a run that begins at an odd leaf";
  EXPECT_EQ(SumTree({0, 0, 8}).most_values(0), 0);
}

TEST(SumTree, NamesANodeByItsHighestAncestorWithTheSameLeaves) {
  const SumTree tree({0, 5});
  EXPECT_EQ(tree.leaf(4), (Node{2, 1}));
  EXPECT_EQ(tree.leaf(3), (Node{0, 3}));
  EXPECT_TRUE(tree.siblings({2, 0}, tree.leaf(4)));
  EXPECT_FALSE(tree.siblings({0, 1}, {0, 2}));
  EXPECT_EQ(tree.parent({2, 0}), (Node{3, 0}));
}

TEST(SumTree, RefusesBoundsThatAreNone) {
  for (const std::vector<std::int64_t>& bounds :
       {std::vector<std::int64_t>{}, {0}, {0, 0}, {1, 2}, {0, 3, 2}, {0, -1}}) {
    EXPECT_THAT([&] { SumTree{bounds}; }, ThrowsMessage<Error>(HasSubstr("expected bounds of the ranks' leaves")));
  }
}

}  // namespace
}  // namespace pixelbert::comm
