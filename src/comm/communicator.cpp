#include "comm/communicator.h"

#include <ATen/core/grad_mode.h>

#include <utility>

#include "core/check.h"

namespace pixelbert::comm {

void sum_leaves(const SumTree& tree, std::vector<torch::Tensor> own, const torch::Tensor& result,
                Communicator& communicator) {
  const torch::NoGradGuard no_grad;
  const int rank = communicator.rank();
  std::vector<Node> leaves;
  for (std::int64_t i = tree.first_leaf(rank); i < tree.end_leaf(rank); ++i) leaves.push_back(tree.leaf(i));
  PB_CHECK(leaves.size() == own.size(), "sum along the tree: expected the values of rank {}'s {} leaves, found {}",
           rank, leaves.size(), own.size());
  const Merged merged = tree.merge(leaves);
  std::vector<torch::Tensor> nodes(merged.nodes.size());
  for (const auto& [into, from, completes] : merged.additions) {
    own[into].add_(own[from]);
    if (completes) nodes[*completes] = own[into];
  }
  for (const auto& [position, node] : merged.unchanged) nodes[node] = own[position];
  communicator.reduce_scatter(tree, std::move(nodes), result)->wait();
  communicator.all_gather(result)->wait();
}

}  // namespace pixelbert::comm
