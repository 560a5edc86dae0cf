// The fixed tree along which a step's micro-batches are added, so that their sum has the same bits at any number of
// ranks.
//
// Node (level, index) covers the leaves [index * 2^level, (index + 1) * 2^level) of [0, leaves), one leaf for each
// micro-batch of the step. Its value is the left child's plus the right child's, or the left child's alone where the
// right one covers nothing. The number of ranks does not occur. IEEE addition commutes bit for bit, so only this
// bracketing must be kept, and not who adds to whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace pixelbert::comm {

struct Node {
  int level = 0;
  std::int64_t index = 0;
  bool operator==(const Node&) const = default;
};

// The value at position `from` of a list of nodes is added to the one at position `into`.
struct Addition {
  std::size_t into = 0;
  std::size_t from = 0;
  std::optional<std::size_t> completes;  // index in Merged::nodes, if this is the last addition into that node
};

// What a list of nodes adds up to.
struct Merged {
  std::vector<Addition> additions;                             // in their order
  std::vector<Node> nodes;                                     // that remain, from left to right
  std::vector<std::pair<std::size_t, std::size_t>> unchanged;  // nothing is added: (position in the list, in `nodes`)
};

class SumTree {
 public:
  // Rank r owns the leaves [bounds[r], bounds[r + 1]), perhaps none. Throws Error unless bounds ascend from 0 to 1 or
  // more.
  explicit SumTree(std::vector<std::int64_t> bounds);
  bool operator==(const SumTree&) const = default;

  int ranks() const { return static_cast<int>(bounds_.size()) - 1; }
  std::int64_t leaves() const { return bounds_.back(); }
  std::int64_t first_leaf(int rank) const { return bounds_[static_cast<std::size_t>(rank)]; }
  std::int64_t end_leaf(int rank) const { return bounds_[static_cast<std::size_t>(rank) + 1]; }
  int owner(std::int64_t leaf) const;  // the rank

  // Nodes are named by the highest ancestor that has the same leaves.
  Node leaf(std::int64_t index) const { return highest({0, index}); }
  bool siblings(Node left, Node right) const;
  Node parent(Node node) const { return highest({node.level + 1, node.index / 2}); }

  // Adds the nodes of a list, in any order and without common leaves, as far as the tree allows. Seven leaves, of which
  // rank 0 has 0 to 2 and rank 1 has 3 to 6: nodes(0) is (1, 0) (0, 2), and nodes(1) is (0, 3) (2, 1). These four are
  // merged by adding position 2 to 1, then 1 to 0, then 3 to 0, which completes the only remaining node, the root.
  Merged merge(const std::vector<Node>& nodes) const;

  // The fewest nodes that cover the leaves of a rank, from left to right: what the rank adds up alone.
  std::vector<Node> nodes(int rank) const;

  // The most values that a rank holds at once while it adds its leaves in their order, one after another.
  std::int64_t most_values(int rank) const;

 private:
  Node highest(Node node) const;

  std::vector<std::int64_t> bounds_;
};

}  // namespace pixelbert::comm
