#include "comm/group_sum.h"

#include <gmock/gmock.h>

#include <random>

#include "core/check.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::comm {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Job {
  std::vector<int> host_of_rank;
  std::vector<std::int64_t> bounds;
};

// Hosts of equal and unequal sizes, ranks dealt by host or in turn, ranks without a leaf.
Job random_job(std::mt19937& random) {
  Job job;
  const int ranks = static_cast<int>(1 + random() % 8), hosts = static_cast<int>(1 + random() % 4);
  const bool in_turn = random() % 2 == 0;
  for (int rank = 0; rank < ranks; ++rank) job.host_of_rank.push_back(in_turn ? rank % hosts : rank * hosts / ranks);
  const auto leaves = static_cast<std::int64_t>(1 + random() % 20);
  job.bounds = {0, leaves};
  while (std::ssize(job.bounds) < ranks + 1) job.bounds.push_back(static_cast<std::int64_t>(random() % (leaves + 1)));
  std::ranges::sort(job.bounds);
  return job;
}

TEST(TreeReduction, GivesEveryRankTheBitsOfTheTreeHoweverRanksAndHostsAreDealt) {
  std::mt19937 random(3);
  at::manual_seed(3);
  for (int trial = 0; trial < 150; ++trial) {
    const Job job = random_job(random);
    const SumTree tree(job.bounds);
    const auto size = static_cast<std::int64_t>(1 + random() % 9000);
    const at::ScalarType type = trial % 4 == 0 ? at::kDouble : at::kFloat;
    std::vector<at::Tensor> leaves;
    for (std::int64_t i = 0; i < tree.leaves(); ++i) leaves.push_back(test::numbers_of_all_sizes(size, type));
    const at::Tensor expected = test::tree_sum(std::span<const at::Tensor>(leaves));

    std::vector<at::Tensor> results(job.host_of_rank.size());
    test::ThreadRanks(job.host_of_rank).run([&](Communicator& communicator) {
      const int rank = communicator.rank();
      std::vector<at::Tensor> own;
      for (std::int64_t i = tree.first_leaf(rank); i < tree.end_leaf(rank); ++i) own.push_back(leaves[i].clone());
      at::Tensor result = at::full({size}, NAN, type);
      sum_leaves(tree, own, result, communicator);
      results[rank] = result;
    });
    for (const at::Tensor& result : results) {
      EXPECT_TRUE(test::same_bits(result, expected))
          << "trial " << trial << ", leaves of ranks " << fmt::format("{}", fmt::join(job.bounds, " "));
    }
  }
}

TEST(TreeReduction, LeavesOutAnAbsentValueSoThatAMinusZeroStays) {
  const SumTree tree({0, 0, 1, 1});
  test::ThreadRanks({0, 0, 1}).run([&](Communicator& communicator) {
    at::Tensor result = at::empty({4000});
    std::vector<at::Tensor> own;
    if (communicator.rank() == 1) own.push_back(at::full({4000}, -0.0));
    sum_leaves(tree, own, result, communicator);
    EXPECT_TRUE(at::signbit(result).all().item<bool>());
  });
}

TEST(CheckValues, RefusesWhatCannotBeAdded) {
  const std::vector<Node> one = {{0, 0}};
  const auto refuses = [&](const std::vector<at::Tensor>& own, const at::Tensor& result, const char* message) {
    EXPECT_THAT([&] { check_values(one, own, result); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  const at::Tensor good = at::zeros({4});
  refuses({}, good, "a value for each of this rank's 1 nodes, found 0");
  refuses({at::zeros({5})}, good, "expected values of shape [4] and type Float as the result's, found [5]");
  refuses({good}, at::zeros({4}, at::kDouble), "found [4] and Float");
  refuses({good}, at::zeros({2, 2}), "of one dimension, found Float of shape [2, 2]");
  refuses({good}, at::zeros({4}, at::kLong), "expected float32 or float64");
}

}  // namespace
}  // namespace pixelbert::comm
