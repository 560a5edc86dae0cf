// Adds along the fixed tree (comm/sum_tree.h) within a group of ranks: each member adds one part of the values.
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/rank_layout.h"
#include "comm/sum_tree.h"

namespace pixelbert::comm {

// What the members of a group hold together.
struct GroupNodes {
  // `members` names the ranks of each member; a member may stand for its whole host.
  GroupNodes(const SumTree& tree, const std::vector<std::vector<int>>& members);

  std::vector<std::vector<Node>> of_member;
  Merged merged;  // of all members' nodes, one after another

  std::size_t most_of_a_member() const;
};

class GroupSum {
 public:
  virtual ~GroupSum() = default;

  // Collective over the group. `own` holds this member's values, one tensor for each of its nodes, and is overwritten.
  // `parts` cuts the values, one range for each member. Leaves the sums of this member's part in `sums`, one tensor for
  // each of nodes.merged.nodes, which may lie in `own`. All tensors have one dimension and no gaps.
  virtual void reduce_scatter(const GroupNodes& nodes, const std::vector<torch::Tensor>& own,
                              const std::vector<Range>& parts, const std::vector<torch::Tensor>& sums) = 0;

  // Collective over the group. Gives every member all parts of `tensor`, each from the member whose part it is.
  virtual void all_gather(const torch::Tensor& tensor, const std::vector<Range>& parts) = 0;
};

// By messages between members. An absent value is left out, and never added as zeros.
class PeerSum final : public GroupSum {
 public:
  struct Message {
    int member = 0;  // the other one
    torch::Tensor part;
  };
  // Sends and receives at the same time. Messages between two members arrive in the order in which they are sent.
  using Exchange = std::function<void(const std::vector<Message>& sent, const std::vector<Message>& received)>;

  PeerSum(int me, Exchange exchange) : me_(me), exchange_(std::move(exchange)) {}

  void reduce_scatter(const GroupNodes& nodes, const std::vector<torch::Tensor>& own, const std::vector<Range>& parts,
                      const std::vector<torch::Tensor>& sums) override;
  void all_gather(const torch::Tensor& tensor, const std::vector<Range>& parts) override;

 private:
  int me_;
  Exchange exchange_;
};

// Throws Error unless `own` has a value for each of `nodes` and all are float32 or float64 of `result`'s size, of one
// dimension.
void check_values(const std::vector<Node>& nodes, const std::vector<torch::Tensor>& own, const torch::Tensor& result);

// Adds within each host, and then between hosts the sums of each host: a link between hosts carries each value once.
// The whole is cut among the ranks of a host, and each of these slices among the hosts. With ranks 0 and 1 on one host
// and 2 and 3 on another, ranks 0 and 2 each add the first half of their host's values, and 1 and 3 the second. Then
// ranks 0 and 2 divide the first half between them: ranks 0, 2, 1, 3 end with the first to the fourth quarter.
class TreeReduction {
 public:
  // A group of one rank needs no GroupSum.
  TreeReduction(RankLayout layout, std::unique_ptr<GroupSum> in_host, std::unique_ptr<GroupSum> across);

  const RankLayout& layout() const { return layout_; }

  // Collective over all ranks, as in comm/communicator.h.
  void reduce_scatter(const SumTree& tree, const std::vector<torch::Tensor>& own, const torch::Tensor& result);
  void all_gather(const torch::Tensor& tensor);

 private:
  // Of the last tree: all buckets of a step have the same one, and it takes some ms with a thousand ranks.
  struct OfTree {
    SumTree tree;
    GroupNodes in_host, across;
  };
  const OfTree& nodes_of(const SumTree& tree);

  RankLayout layout_;
  std::unique_ptr<GroupSum> in_host_;
  std::unique_ptr<GroupSum> across_;
  std::optional<OfTree> of_tree_;
};

}  // namespace pixelbert::comm
