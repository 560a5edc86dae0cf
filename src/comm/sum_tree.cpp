#include "comm/sum_tree.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/check.h"

namespace pixelbert::comm {

SumTree::SumTree(std::vector<std::int64_t> bounds) : bounds_(std::move(bounds)) {
  PB_CHECK(bounds_.size() >= 2 && bounds_[0] == 0 && bounds_.back() > 0 && std::ranges::is_sorted(bounds_),
           "sum tree: expected bounds of the ranks' leaves that ascend from 0 to at least 1, found [{}]",
           fmt::join(bounds_, ", "));
}

int SumTree::owner(std::int64_t leaf) const {
  return static_cast<int>(std::ranges::upper_bound(bounds_, leaf) - bounds_.begin()) - 1;
}

bool SumTree::siblings(Node left, Node right) const {
  return left.level == right.level && left.index % 2 == 0 && right.index == left.index + 1;
}

Node SumTree::highest(Node node) const {
  const auto covers_all = [&] { return std::int64_t{1} << node.level >= leaves(); };
  while (!covers_all() && node.index % 2 == 0 && (node.index + 1) << node.level >= leaves()) {
    node = {node.level + 1, node.index / 2};
  }
  return node;
}

Merged SumTree::merge(const std::vector<Node>& nodes) const {
  struct Value {
    std::size_t position;
    Node node;
    std::optional<std::size_t> last;  // addition into it
  };
  std::vector<std::size_t> from_left(nodes.size());
  std::iota(from_left.begin(), from_left.end(), 0);
  std::ranges::sort(from_left, {}, [&](std::size_t i) { return nodes[i].index << nodes[i].level; });

  Merged merged;
  std::vector<Value> values;
  for (const std::size_t i : from_left) {
    Value value{.position = i, .node = highest(nodes[i]), .last = {}};
    while (!values.empty() && siblings(values.back().node, value.node)) {
      merged.additions.push_back({.into = values.back().position, .from = value.position, .completes = {}});
      value = {.position = values.back().position, .node = parent(value.node), .last = merged.additions.size() - 1};
      values.pop_back();
    }
    values.push_back(value);
  }
  for (const Value& value : values) {
    if (value.last) {
      merged.additions[*value.last].completes = merged.nodes.size();
    } else {
      merged.unchanged.emplace_back(value.position, merged.nodes.size());
    }
    merged.nodes.push_back(value.node);
  }
  return merged;
}

std::vector<Node> SumTree::nodes(int rank) const {
  std::vector<Node> leaves;
  for (std::int64_t i = first_leaf(rank); i < end_leaf(rank); ++i) leaves.push_back(leaf(i));
  return merge(leaves).nodes;
}

std::int64_t SumTree::most_values(int rank) const {
  std::vector<Node> held;
  std::size_t most = 0;
  for (std::int64_t i = first_leaf(rank); i < end_leaf(rank); ++i) {
    // A leaf is added to its left sibling without a value of its own.
    const Node next = leaf(i);
    held = merge(held).nodes;
    if (!held.empty() && siblings(held.back(), next)) {
      held.back() = parent(next);
    } else {
      held.push_back(next);
    }
    most = std::max(most, held.size());
  }
  return static_cast<std::int64_t>(most);
}

}  // namespace pixelbert::comm
