// The sum along the fixed tree (src/comm/sum_tree.h), written by its definition.
#pragma once

#include <ATen/ATen.h>

#include <bit>
#include <functional>
#include <span>

namespace pixelbert::test {

// The left half is the largest power of two below the number of leaves.
template <class T, class Add = std::plus<>>
T tree_sum(std::span<const T> leaves, Add add = {}) {
  if (leaves.size() == 1) return leaves[0];
  const std::size_t left = std::bit_floor(leaves.size() - 1);
  return add(tree_sum(leaves.first(left), add), tree_sum(leaves.subspan(left), add));
}

// Numbers of very different sizes: nearly every other order of a sum rounds differently.
inline at::Tensor numbers_of_all_sizes(std::int64_t count, at::ScalarType type = at::kFloat) {
  return (at::randn({count}, at::kDouble) * at::exp2(at::randint(-12, 12, {count}, at::kDouble))).to(type);
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.reshape({-1}).view(at::kByte), b.reshape({-1}).view(at::kByte));
}

}  // namespace pixelbert::test
