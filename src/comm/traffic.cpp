#include "comm/traffic.h"

#include <algorithm>
#include <vector>

#include "comm/group_sum.h"
#include "core/check.h"

namespace pixelbert::comm {
namespace {

// What the busiest member of a group gives or takes, for each byte of a tensor that is cut among them all.
double most_moved(const std::vector<std::vector<Node>>& nodes_of_member) {
  const auto members = static_cast<double>(nodes_of_member.size());
  double all = 0, most = 0;
  for (const std::vector<Node>& nodes : nodes_of_member) all += static_cast<double>(nodes.size());
  for (const std::vector<Node>& nodes : nodes_of_member) {
    const auto own = static_cast<double>(nodes.size());
    most = std::max({most, own * (members - 1) / members, (all - own) / members});
  }
  return most;
}

void check_layout(int ranks, int ranks_per_host) {
  PB_CHECK(ranks_per_host >= 1 && ranks % ranks_per_host == 0,
           "traffic: expected a multiple of {} ranks per host, found {} ranks", ranks_per_host, ranks);
}

}  // namespace

Traffic reduce_scatter_traffic(const SumTree& tree, int ranks_per_host) {
  check_layout(tree.ranks(), ranks_per_host);
  Traffic traffic;
  std::vector<std::vector<int>> hosts;
  for (int first = 0; first < tree.ranks(); first += ranks_per_host) {
    std::vector<std::vector<int>> members;
    std::vector<int>& host = hosts.emplace_back();
    for (int rank = first; rank < first + ranks_per_host; ++rank) {
      members.push_back({rank});
      host.push_back(rank);
    }
    traffic.in_host = std::max(traffic.in_host, most_moved(GroupNodes(tree, members).of_member));
  }
  const GroupNodes between(tree, hosts);
  traffic.network = most_moved(between.of_member);  // the ranks of a host send a slice each, together all
  traffic.messages = static_cast<std::int64_t>(between.most_of_a_member() * (hosts.size() - 1));
  return traffic;
}

Traffic all_gather_traffic(int ranks, int ranks_per_host) {
  check_layout(ranks, ranks_per_host);
  const double here = ranks_per_host, hosts = ranks / ranks_per_host;
  return {.in_host = (here - 1) / here, .network = (hosts - 1) / hosts, .messages = ranks / ranks_per_host - 1};
}

}  // namespace pixelbert::comm
