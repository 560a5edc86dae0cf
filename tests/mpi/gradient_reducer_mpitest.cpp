// The gradients equal those of one process, at any number of ranks and with uneven slices.
#include "comm/gradient_reducer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "comm/make_communicator.h"
#include "tests/support/mpi_test.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::comm {
namespace {

using test::session;

// A little of everything in training: a channels_last kernel, a frozen one, an unused parameter.
struct Network {
  Network() {
    at::manual_seed(5);
    const auto random = [](at::IntArrayRef shape) { return at::randn(shape, at::kDouble); };
    frozen = random({3, 3, 1, 1});
    kernel = random({8, 3, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).set_requires_grad(true);
    unused = random({40}).set_requires_grad(true);
    weight = random({8, 5}).set_requires_grad(true);
    bias = random({5}).set_requires_grad(true);
  }

  std::vector<at::Tensor> parameters() const { return {frozen, kernel, unused, weight, bias}; }
  std::vector<at::Tensor> trained() const { return {kernel, unused, weight, bias}; }

  at::Tensor loss(std::int64_t micro_batch) const {
    at::manual_seed(100 + micro_batch);
    const at::Tensor images = at::randn({2, 3, 6, 6}, at::kDouble);
    const at::Tensor map = at::relu(at::conv2d(at::conv2d(images, frozen), kernel)).mean({2, 3});
    return at::log_softmax(at::matmul(map, weight) + bias, 1).select(1, 0).sum();
  }

  at::Tensor frozen, kernel, unused, weight, bias;
};

std::vector<at::Tensor> gradients_of_one_process(std::int64_t micro_batches) {
  const Network network;
  for (std::int64_t i = 0; i < micro_batches; ++i) network.loss(i).backward();
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : network.trained()) {
    gradients.push_back(parameter.grad().defined() ? parameter.grad() : at::zeros_like(parameter));
  }
  return gradients;
}

// Returns this rank's part of the list of micro-batches: shorter on later ranks, perhaps empty.
struct Slice {
  std::int64_t begin, end;
};
Slice slice_of(std::int64_t micro_batches) {
  const std::int64_t longest = (micro_batches + session().world_size() - 1) / session().world_size();
  const std::int64_t begin = std::min(session().rank() * longest, micro_batches);
  return {begin, std::min(begin + longest, micro_batches)};
}

class GradientReducerRanks : public ::testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(GradientReducerRanks, EqualTheSingleProcessGradient) {
  const auto [micro_batches, bucket_bytes] = GetParam();
  const auto communicator = make_control_communicator(session());
  const Network network;
  GradientReducer reducer(network.parameters(), *communicator, bucket_bytes);
  const std::vector<at::Tensor> expected = gradients_of_one_process(micro_batches);

  for (int step = 0; step < 3; ++step) {
    reducer.zero_grad();
    const Slice mine = slice_of(micro_batches);
    for (std::int64_t i = mine.begin; i < mine.end; ++i) {
      const at::Tensor loss = network.loss(i);
      if (i + 1 == mine.end) reducer.arm();
      loss.backward();
    }
    reducer.finish();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const at::Tensor gradient = network.trained()[i].grad();
      EXPECT_LT(test::max_difference(gradient, expected[i]), 1e-12) << "parameter " << i;  // float64, another order
      const at::Tensor first = gradient.clone();
      communicator->broadcast(first, 0);
      EXPECT_TRUE(at::equal(gradient, first)) << "the same bits on all ranks, parameter " << i;
    }
  }
}

// With one micro-batch, all ranks but one have none; 5 and 7 are not divisible by 2, 3 or 4.
INSTANTIATE_TEST_SUITE_P(MicroBatchesAndBuckets, GradientReducerRanks,
                         ::testing::Combine(::testing::Values(1, 2, 5, 7, 12), ::testing::Values(1, 500, 1 << 20)));

// The ranks start differently but send in the same order.
TEST(GradientReducer, ReducesTheSameBucketsWhenRanksFinishTheirGradientsInAnotherOrder) {
  const auto communicator = make_control_communicator(session());
  const at::Tensor a = at::zeros({100}).set_requires_grad(true);
  const at::Tensor b = at::zeros({37}).set_requires_grad(true);
  GradientReducer reducer({a, b}, *communicator, 1);
  const float mine = static_cast<float>(session().rank() + 1);
  reducer.zero_grad();
  reducer.arm();
  if (session().rank() % 2 == 0) {
    ((a * mine).sum() + (b * mine).sum()).backward();
  } else {
    ((b * mine).sum() + (a * mine).sum()).backward();
  }
  reducer.finish();
  const int ranks = session().world_size();
  const float sum = static_cast<float>(ranks * (ranks + 1) / 2);
  EXPECT_TRUE(at::equal(a.grad(), at::full({100}, sum)));
  EXPECT_TRUE(at::equal(b.grad(), at::full({37}, sum)));
  EXPECT_EQ(reducer.reduced_bytes(), ranks == 1 ? 0 : (112 + 48) * 4);
}

}  // namespace
}  // namespace pixelbert::comm
