// The gradients have the bits of the fixed tree, at any number of ranks and with uneven runs of micro-batches.
#include "comm/gradient_reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <tuple>

#include "comm/make_communicator.h"
#include "tests/support/mpi_test.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::comm {
namespace {

using test::session;

// A little of everything in training: a channels_last kernel, a frozen one, an unused parameter.
struct Network {
  Network() {
    at::manual_seed(5);
    const auto random = [](at::IntArrayRef shape) { return at::randn(shape); };
    frozen = random({3, 3, 1, 1});
    kernel = random({80, 3, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).set_requires_grad(true);
    unused = random({40}).set_requires_grad(true);
    weight = random({80, 5}).set_requires_grad(true);
    bias = random({5}).set_requires_grad(true);
  }

  std::vector<at::Tensor> parameters() const { return {frozen, kernel, unused, weight, bias}; }
  std::vector<at::Tensor> trained() const { return {kernel, unused, weight, bias}; }

  at::Tensor loss(std::int64_t micro_batch) const {
    at::manual_seed(100 + micro_batch);
    const at::Tensor images = at::randn({2, 3, 6, 6});
    const at::Tensor map = at::relu(at::conv2d(at::conv2d(images, frozen), kernel)).mean({2, 3});
    return at::log_softmax(at::matmul(map, weight) + bias, 1).select(1, 0).sum();
  }

  at::Tensor frozen, kernel, unused, weight, bias;
};

// Each micro-batch's gradient alone, added by the definition of the tree.
std::vector<at::Tensor> gradients_of_one_process(std::int64_t micro_batches) {
  std::vector<std::vector<at::Tensor>> leaves(4);
  for (std::int64_t i = 0; i < micro_batches; ++i) {
    const Network network;
    network.loss(i).backward();
    for (std::size_t p = 0; p < leaves.size(); ++p) {
      const at::Tensor& gradient = network.trained()[p].grad();
      leaves[p].push_back(gradient.defined() ? gradient : at::zeros_like(network.trained()[p]));
    }
  }
  std::vector<at::Tensor> gradients;
  for (const std::vector<at::Tensor>& of_one : leaves) {
    gradients.push_back(test::tree_sum(std::span<const at::Tensor>(of_one)));
  }
  return gradients;
}

// Later ranks have fewer micro-batches, perhaps none.
SumTree tree_of(std::int64_t micro_batches) {
  const std::int64_t longest = (micro_batches + session().world_size() - 1) / session().world_size();
  std::vector<std::int64_t> bounds;
  for (std::int64_t rank = 0; rank <= session().world_size(); ++rank) {
    bounds.push_back(std::min(rank * longest, micro_batches));
  }
  return SumTree(bounds);
}

class GradientReducerRanks : public ::testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(GradientReducerRanks, GiveTheBitsOfTheTree) {
  const auto [micro_batches, bucket_bytes] = GetParam();
  const auto communicator = make_control_communicator(session());
  const Network network;
  GradientReducer reducer(network.parameters(), *communicator, bucket_bytes);

  // A step with four micro-batches on each rank comes between, as the last step of an epoch follows full ones.
  for (const std::int64_t in_step : {micro_batches, 4 * session().world_size(), micro_batches}) {
    const std::vector<at::Tensor> expected = gradients_of_one_process(in_step);
    const SumTree tree = tree_of(in_step);
    reducer.begin_step(tree);
    for (std::int64_t i = tree.first_leaf(session().rank()); i < tree.end_leaf(session().rank()); ++i) {
      const at::Tensor loss = network.loss(i);
      reducer.begin_micro_batch(i);
      loss.backward();
    }
    reducer.finish();
    for (const Piece& piece : reducer.pieces()) {
      const at::Tensor& whole = expected[piece.parameter - 1];  // the first one is frozen
      const at::Tensor elements = whole.as_strided({whole.numel()}, {1});
      EXPECT_TRUE(test::same_bits(piece.weights.grad(), elements.slice(0, piece.elements.begin, piece.elements.end)))
          << "parameter " << piece.parameter;
    }
  }
}

// With one micro-batch, all ranks but one have none; 5 and 7 are not divisible by 2, 3 or 4.
INSTANTIATE_TEST_SUITE_P(MicroBatchesAndBuckets, GradientReducerRanks,
                         ::testing::Combine(::testing::Values(1, 2, 3, 5, 7, 8, 12),
                                            ::testing::Values(1, 10000, 1 << 20)));

// The ranks start differently but send in the same order.
TEST(GradientReducer, ReducesTheSameBucketsWhenRanksFinishTheirGradientsInAnotherOrder) {
  const auto communicator = make_control_communicator(session());
  const at::Tensor a = at::zeros({100}).set_requires_grad(true);
  const at::Tensor b = at::zeros({37}).set_requires_grad(true);
  GradientReducer reducer({a, b}, *communicator, 1);
  const float mine = static_cast<float>(session().rank() + 1);
  std::vector<std::int64_t> one_leaf_each;
  for (int rank = 0; rank <= session().world_size(); ++rank) one_leaf_each.push_back(rank);
  reducer.begin_step(SumTree(one_leaf_each));
  reducer.begin_micro_batch(session().rank());
  if (session().rank() % 2 == 0) {
    ((a * mine).sum() + (b * mine).sum()).backward();
  } else {
    ((b * mine).sum() + (a * mine).sum()).backward();
  }
  reducer.finish();
  const int ranks = session().world_size();
  const float sum = static_cast<float>(ranks * (ranks + 1) / 2);
  for (const Piece& piece : reducer.pieces()) EXPECT_TRUE(piece.weights.grad().eq(sum).all().item<bool>());
  EXPECT_EQ(reducer.reduced_bytes(), ranks == 1 ? 0 : 2 * 1024 * 4);
}

}  // namespace
}  // namespace pixelbert::comm
