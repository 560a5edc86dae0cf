#include "comm/traffic.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "comm/group_sum.h"

namespace pixelbert::comm {
namespace {

// What a rank gives to and takes from others, in bytes.
struct Moved {
  std::int64_t sent = 0, received = 0, messages = 0;
};

std::unique_ptr<GroupSum> counting(const Group& group, Moved& moved) {
  if (group.size() == 1) return nullptr;
  const auto count = [&moved](const std::vector<PeerSum::Message>& sent,
                              const std::vector<PeerSum::Message>& received) {
    for (const PeerSum::Message& message : sent) moved.sent += static_cast<std::int64_t>(message.part.nbytes());
    for (const PeerSum::Message& message : received) moved.received += static_cast<std::int64_t>(message.part.nbytes());
    moved.messages += std::ssize(sent);
  };
  return std::make_unique<PeerSum>(group.me, count);
}

// Counts the messages of the real reduction, rank by rank, without sending them.
template <class Collective>
Traffic count(int ranks, int ranks_per_host, double bytes, Collective collective) {
  std::vector<int> host_of_rank;
  for (int rank = 0; rank < ranks; ++rank) host_of_rank.push_back(rank / ranks_per_host);
  Traffic traffic;
  std::vector<Moved> hosts(static_cast<std::size_t>(ranks / ranks_per_host));
  for (int rank = 0; rank < ranks; ++rank) {
    Moved in_host, across;
    RankLayout layout(host_of_rank, rank);
    auto here = counting(layout.in_host, in_host), there = counting(layout.across, across);
    TreeReduction reduction(std::move(layout), std::move(here), std::move(there));
    collective(reduction, rank);
    traffic.in_host = std::max(traffic.in_host, static_cast<double>(std::max(in_host.sent, in_host.received)) / bytes);
    traffic.messages = std::max(traffic.messages, across.messages);
    Moved& host = hosts[static_cast<std::size_t>(rank / ranks_per_host)];
    host.sent += across.sent, host.received += across.received;
  }
  for (const Moved& host : hosts) {
    traffic.network = std::max(traffic.network, static_cast<double>(std::max(host.sent, host.received)) / bytes);
  }
  return traffic;
}

void expect_same(const Traffic& computed, const Traffic& counted, int ranks, int ranks_per_host) {
  EXPECT_NEAR(computed.in_host, counted.in_host, 1e-9) << ranks << " ranks, " << ranks_per_host << " on a host";
  EXPECT_NEAR(computed.network, counted.network, 1e-9) << ranks << " ranks, " << ranks_per_host << " on a host";
  EXPECT_EQ(computed.messages, counted.messages) << ranks << " ranks, " << ranks_per_host << " on a host";
}

TEST(Traffic, IsWhatTheReductionSends) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const int ranks_per_host = static_cast<int>(1 + random() % 4), hosts = static_cast<int>(1 + random() % 5);
    const int ranks = ranks_per_host * hosts;
    const auto leaves = static_cast<std::int64_t>(1 + random() % 40);
    std::vector<std::int64_t> bounds;
    for (int rank = 0; rank <= ranks; ++rank) bounds.push_back(leaves * rank / ranks);
    const SumTree tree(bounds);
    const at::Tensor tensor = at::empty({2 * kCell * ranks});
    const auto bytes = static_cast<double>(tensor.nbytes());
    expect_same(reduce_scatter_traffic(tree, ranks_per_host),
                count(ranks, ranks_per_host, bytes,
                      [&](TreeReduction& reduction, int rank) {
                        const std::vector<at::Tensor> own(tree.nodes(rank).size(), tensor);
                        reduction.reduce_scatter(tree, own, tensor.clone());
                      }),
                ranks, ranks_per_host);
    expect_same(
        all_gather_traffic(ranks, ranks_per_host),
        count(ranks, ranks_per_host, bytes, [&](TreeReduction& reduction, int) { reduction.all_gather(tensor); }),
        ranks, ranks_per_host);
  }
}

TEST(Traffic, IsThatOfARingIfEachHostsMicroBatchesAreOneNode) {
  const Traffic traffic = reduce_scatter_traffic(SumTree({0, 4, 8, 12, 16}), 1);
  EXPECT_DOUBLE_EQ(traffic.network, 0.75);
  EXPECT_EQ(traffic.messages, 3);
  EXPECT_DOUBLE_EQ(reduce_scatter_traffic(SumTree({0, 4, 8, 12, 16}), 2).network, 0.5);
}

TEST(Traffic, CountsTheNodesThatAHostCannotAddAlone) {
  EXPECT_DOUBLE_EQ(reduce_scatter_traffic(SumTree({0, 6, 12}), 1).network, 1) << "0-3, 4-5 and 6-7, 8-11";
}

}  // namespace
}  // namespace pixelbert::comm
