#include "comm/group_sum.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/check.h"

namespace pixelbert::comm {
namespace {

torch::Tensor narrow(const torch::Tensor& tensor, Range range) {
  return tensor.narrow(0, range.begin, range.size());
}

void add_up(const Merged& merged, const std::vector<torch::Tensor>& values, const std::vector<torch::Tensor>& sums) {
  const torch::NoGradGuard no_grad;
  for (const auto& [into, from, completes] : merged.additions) {
    torch::Tensor sum = completes ? sums[*completes] : values[into];
    at::add_out(sum, values[into], values[from]);
  }
  for (const auto& [position, node] : merged.unchanged) sums[node].copy_(values[position]);
}

}  // namespace

GroupNodes::GroupNodes(const SumTree& tree, const std::vector<std::vector<int>>& members) {
  std::vector<Node> all;
  for (const std::vector<int>& ranks : members) {
    std::vector<Node> nodes;
    for (const int rank : ranks) {
      for (const Node node : tree.nodes(rank)) nodes.push_back(node);
    }
    of_member.push_back(tree.merge(nodes).nodes);
    all.insert(all.end(), of_member.back().begin(), of_member.back().end());
  }
  merged = tree.merge(all);
}

std::size_t GroupNodes::most_of_a_member() const {
  std::size_t most = 0;
  for (const std::vector<Node>& nodes : of_member) most = std::max(most, nodes.size());
  return most;
}

void PeerSum::reduce_scatter(const GroupNodes& nodes, const std::vector<torch::Tensor>& own,
                             const std::vector<Range>& parts, const std::vector<torch::Tensor>& sums) {
  const int members = static_cast<int>(parts.size());
  const Range mine = parts[static_cast<std::size_t>(me_)];
  std::vector<Message> sent, received;
  std::vector<torch::Tensor> values;
  for (int member = 0; member < members; ++member) {
    for (std::size_t node = 0; node < nodes.of_member[static_cast<std::size_t>(member)].size(); ++node) {
      if (member == me_) {
        values.push_back(narrow(own[node], mine));
        continue;
      }
      values.push_back(at::empty({mine.size()}, sums[0].options()));
      received.push_back({.member = member, .part = values.back()});
    }
  }
  for (int step = 1; step < members; ++step) {  // begins with the next member, so that not all send to one
    const int member = (me_ + step) % members;
    for (const torch::Tensor& value : own) {
      sent.push_back({.member = member, .part = narrow(value, parts[static_cast<std::size_t>(member)])});
    }
  }
  exchange_(sent, received);
  add_up(nodes.merged, values, sums);
}

void PeerSum::all_gather(const torch::Tensor& tensor, const std::vector<Range>& parts) {
  const int members = static_cast<int>(parts.size());
  std::vector<Message> sent, received;
  for (int step = 1; step < members; ++step) {
    const int to = (me_ + step) % members, from = (me_ - step + members) % members;
    sent.push_back({.member = to, .part = narrow(tensor, parts[static_cast<std::size_t>(me_)])});
    received.push_back({.member = from, .part = narrow(tensor, parts[static_cast<std::size_t>(from)])});
  }
  exchange_(sent, received);
}

void check_values(const std::vector<Node>& nodes, const std::vector<torch::Tensor>& own, const torch::Tensor& result) {
  PB_CHECK(own.size() == nodes.size(), "reduce_scatter: expected a value for each of this rank's {} nodes, found {}",
           nodes.size(), own.size());
  PB_CHECK(result.dim() == 1 && (result.scalar_type() == torch::kFloat32 || result.scalar_type() == torch::kFloat64),
           "reduce_scatter: expected float32 or float64 of one dimension, found {} of shape {}",
           c10::toString(result.scalar_type()), c10::str(result.sizes()));
  for (const torch::Tensor& value : own) {
    PB_CHECK(value.sizes() == result.sizes() && value.scalar_type() == result.scalar_type(),
             "reduce_scatter: expected values of shape {} and type {} as the result's, found {} and {}",
             c10::str(result.sizes()), c10::toString(result.scalar_type()), c10::str(value.sizes()),
             c10::toString(value.scalar_type()));
  }
}

TreeReduction::TreeReduction(RankLayout layout, std::unique_ptr<GroupSum> in_host, std::unique_ptr<GroupSum> across)
    : layout_(std::move(layout)), in_host_(std::move(in_host)), across_(std::move(across)) {}

const TreeReduction::OfTree& TreeReduction::nodes_of(const SumTree& tree) {
  if (!of_tree_ || of_tree_->tree != tree) {
    std::vector<std::vector<int>> members;
    for (const int rank : layout_.in_host.ranks) members.push_back({rank});
    of_tree_ = {tree, GroupNodes(tree, members), GroupNodes(tree, layout_.hosts)};
  }
  return *of_tree_;
}

void TreeReduction::reduce_scatter(const SumTree& tree, const std::vector<torch::Tensor>& own,
                                   const torch::Tensor& result) {
  std::vector<Range> slices = cut({0, result.numel()}, layout_.in_host.size());
  const Range slice = slices[static_cast<std::size_t>(layout_.in_host.me)];
  std::vector<torch::Tensor> values;
  for (const torch::Tensor& value : own) values.push_back(narrow(value, slice));

  if (in_host_) {
    const GroupNodes& nodes = nodes_of(tree).in_host;
    std::vector<torch::Tensor> sums;
    if (!across_) sums.push_back(narrow(result, slice));
    while (sums.size() < nodes.merged.nodes.size()) sums.push_back(at::empty({slice.size()}, result.options()));
    in_host_->reduce_scatter(nodes, own, slices, sums);
    values = std::move(sums);
  }
  if (across_) {
    std::vector<Range> parts = cut({0, slice.size()}, layout_.across.size());
    const torch::Tensor sum = narrow(narrow(result, slice), parts[static_cast<std::size_t>(layout_.across.me)]);
    across_->reduce_scatter(nodes_of(tree).across, values, parts, {sum});
  }
  if (!in_host_ && !across_ && !own[0].is_same(result)) result.copy_(own[0]);
}

void TreeReduction::all_gather(const torch::Tensor& tensor) {
  const std::vector<Range> slices = cut({0, tensor.numel()}, layout_.in_host.size());
  const Range slice = slices[static_cast<std::size_t>(layout_.in_host.me)];
  if (across_) across_->all_gather(narrow(tensor, slice), cut({0, slice.size()}, layout_.across.size()));
  if (in_host_) in_host_->all_gather(tensor, slices);
}

}  // namespace pixelbert::comm
