#include "comm/gradient_reducer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <random>
#include <span>

#include "comm/group_sum.h"
#include "core/check.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::comm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

// Two ranks; the other one always has this rank's gradients: a sum doubles them when it is waited for.
class TwinCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 2; }
  void broadcast(torch::Tensor, int) override {}
  void barrier() override {}
  std::unique_ptr<Work> all_reduce(torch::Tensor, ReduceOp) override { std::terminate(); }
  std::unique_ptr<Work> reduce_scatter(const SumTree& tree, std::vector<torch::Tensor> own,
                                       torch::Tensor result) override {
    check_values(tree.nodes(0), own, result);
    started.push_back(result.numel());
    for (std::size_t i = 0; i + 1 < own.size(); ++i) result.add_(own[i]);
    return std::make_unique<Doubling>(*this, result);
  }
  std::unique_ptr<Work> all_gather(torch::Tensor tensor) override {
    EXPECT_EQ(tensor.numel(), started.back());
    return std::make_unique<Gathered>();
  }

  std::vector<std::int64_t> started;  // elements of each call
  int waited = 0;

 private:
  struct Gathered final : Work {
    void wait() override {}
  };
  struct Doubling final : Work {
    Doubling(TwinCommunicator& twin, torch::Tensor tensor) : twin(twin), tensor(std::move(tensor)) {}
    void wait() override {
      ++twin.waited;
      tensor.mul_(2);
    }
    TwinCommunicator& twin;
    torch::Tensor tensor;
  };
};

torch::Tensor parameter(at::IntArrayRef shape) {
  return at::randn(shape).set_requires_grad(true);
}

// Sizes that tell the buckets apart; a bucket of one byte has one parameter.
struct TwoParameters {
  torch::Tensor first = parameter({32});
  torch::Tensor last = parameter({16});
  TwinCommunicator twin;
  GradientReducer reducer{{first, last}, twin, 1};
};

// A step in which each of the two ranks has so many micro-batches.
SumTree each(std::int64_t micro_batches) {
  return SumTree({0, micro_batches, 2 * micro_batches});
}

void begin_only_micro_batch(GradientReducer& reducer) {
  reducer.begin_step(each(1));
  reducer.begin_micro_batch(0);
}

TEST(GradientReducer, StartsBucketsLastFirstWhicheverGradientComesFirst) {
  for (const bool first_is_early : {false, true}) {
    TwoParameters two;
    begin_only_micro_batch(two.reducer);
    // Backward goes through the sum that was made last first.
    const torch::Tensor a = first_is_early ? two.last.sum() : two.first.sum();
    const torch::Tensor b = first_is_early ? two.first.sum() : two.last.sum();
    (a + b).backward();
    EXPECT_THAT(two.twin.started, ElementsAre(16, 32)) << "all buckets start before finish()";
    EXPECT_EQ(two.twin.waited, 0);
    two.reducer.finish();
    EXPECT_EQ(two.twin.waited, 2);
  }
}

TEST(GradientReducer, StartsTheFirstBucketWhileBackwardGoesOn) {
  TwoParameters two;
  std::vector<std::int64_t> started_so_far;
  const torch::Tensor early_layer = two.first * 1;
  early_layer.register_hook([&](const torch::Tensor& gradient) {
    started_so_far = two.twin.started;
    return gradient;
  });
  begin_only_micro_batch(two.reducer);
  (early_layer.sum() * two.last.sum()).backward();
  two.reducer.finish();
  EXPECT_THAT(started_so_far, ElementsAre(16));
}

TEST(GradientReducer, GivesTheGradientsOfPlainBackward) {
  const torch::Tensor image = at::randn({2, 3, 8, 8});
  torch::Tensor frozen = at::randn({3, 3, 1, 1});
  torch::Tensor kernel = at::randn({4, 3, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).set_requires_grad(true);
  torch::Tensor bias = parameter({4});
  torch::Tensor scale = parameter({});
  const auto loss = [&] {
    const torch::Tensor map = at::conv2d(at::conv2d(image, frozen), kernel, bias);
    return (map * scale).pow(2).sum() + (map * kernel.sum()).sum();
  };
  loss().backward();
  const std::vector<torch::Tensor> expected = {kernel.grad().clone(), bias.grad().clone(), scale.grad().clone()};

  TwinCommunicator twin;
  GradientReducer reducer({frozen, kernel, bias, scale}, twin, 200);
  begin_only_micro_batch(reducer);
  loss().backward();
  reducer.finish();
  EXPECT_LT(test::relative_difference(kernel.grad(), expected[0] * 2), 1e-6);
  EXPECT_LT(test::relative_difference(bias.grad(), expected[1] * 2), 1e-6);
  EXPECT_LT(test::relative_difference(scale.grad(), expected[2] * 2), 1e-6);
  EXPECT_EQ(kernel.grad().strides(), kernel.strides()) << "a gradient has its parameter's memory order";
  EXPECT_FALSE(frozen.grad().defined());
}

TEST(GradientReducer, AccumulatesMicroBatchesAndReducesOnce) {
  TwoParameters two;
  two.reducer.begin_step(each(3));
  for (int micro_batch = 1; micro_batch <= 3; ++micro_batch) {
    two.reducer.begin_micro_batch(micro_batch - 1);
    ((two.first.sum() + two.last.sum()) * micro_batch).backward();
    if (micro_batch < 3) {
      EXPECT_THAT(two.twin.started, IsEmpty());
    }
  }
  two.reducer.finish();
  EXPECT_THAT(two.twin.started, ElementsAre(16, 32));
  EXPECT_TRUE(at::equal(two.first.grad(), at::full({32}, 12.0)));
  EXPECT_TRUE(at::equal(two.last.grad(), at::full({16}, 12.0)));
}

TEST(GradientReducer, StartsEachStepAnew) {
  TwoParameters two;
  for (int step = 0; step < 3; ++step) {
    begin_only_micro_batch(two.reducer);
    (two.first.sum() + two.last.sum()).backward();
    two.reducer.finish();
    EXPECT_TRUE(at::equal(two.first.grad(), at::full({32}, 2.0)));
  }
  EXPECT_THAT(two.twin.started, ElementsAre(16, 32, 16, 32, 16, 32));
  EXPECT_EQ(two.reducer.reduced_bytes(), 3 * (16 + 32) * 4);
}

TEST(GradientReducer, CountsAParameterUsedTwiceOnce) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  (two.first.sum() + two.last.sum() + (two.last * 3).sum()).backward();
  two.reducer.finish();
  EXPECT_TRUE(at::equal(two.last.grad(), at::full({16}, 8.0)));
}

TEST(GradientReducer, TakesAnUnusedParameterAsZero) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  two.first.sum().backward();
  EXPECT_THAT(two.twin.started, IsEmpty()) << "the bucket before it has not filled";
  two.reducer.finish();
  EXPECT_THAT(two.twin.started, ElementsAre(16, 32));
  EXPECT_TRUE(at::equal(two.first.grad(), at::full({32}, 2.0)));
  EXPECT_TRUE(at::equal(two.last.grad(), at::zeros({16})));
}

TEST(GradientReducer, MakesTheSameCallsOnARankWithoutAMicroBatch) {
  TwoParameters two;
  two.reducer.begin_step(SumTree({0, 0, 1}));
  two.reducer.finish();
  EXPECT_THAT(two.twin.started, ElementsAre(16, 32));
  EXPECT_TRUE(at::equal(two.first.grad(), at::zeros({32})));
}

TEST(GradientReducer, WaitsForNobodyWhenAnErrorComesBeforeFinish) {
  TwinCommunicator twin;
  torch::Tensor weight = parameter({32});
  {
    GradientReducer reducer({weight}, twin, 1);
    begin_only_micro_batch(reducer);
    weight.sum().backward();
  }
  EXPECT_THAT(twin.started, ElementsAre(32));
  EXPECT_EQ(twin.waited, 0);
  weight.sum().backward();  // the parameter no longer knows the reducer
  EXPECT_THAT(twin.started, ElementsAre(32));
  EXPECT_TRUE(at::equal(weight.grad(), at::full({32}, 2.0)));
}

TEST(GradientReducer, RefusesASecondBackwardOfTheLastMicroBatch) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  two.first.sum().backward();
  EXPECT_THAT([&] { two.first.sum().backward(); }, ThrowsMessage<Error>(HasSubstr("a second backward after")));
}

TEST(GradientReducer, RefusesMicroBatchesThatAreNotThisRanksNext) {
  TwoParameters two;
  EXPECT_THAT([&] { two.reducer.begin_micro_batch(0); }, ThrowsMessage<Error>(HasSubstr("expected micro-batch")));
  two.reducer.begin_step(each(2));
  EXPECT_THAT([&] { two.reducer.begin_micro_batch(1); },
              ThrowsMessage<Error>(HasSubstr("expected micro-batch 0 of this rank's, which end before 2, found 1")));
  EXPECT_THAT([&] { two.reducer.finish(); }, ThrowsMessage<Error>(HasSubstr("before this rank's last micro-batch")));
  EXPECT_THAT([&] { two.reducer.begin_step(SumTree({0, 1})); },
              ThrowsMessage<Error>(HasSubstr("expected a tree of 2 ranks, found one of 1")));
}

TEST(GradientReducer, NoticesGradientsThatWereZeroedElsewhere) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  two.first.mutable_grad().reset();
  EXPECT_THAT([&] { two.reducer.finish(); }, ThrowsMessage<Error>(HasSubstr("found none: zero gradients with")));
  two.first.mutable_grad() = at::zeros({32});
  begin_only_micro_batch(two.reducer);
  EXPECT_THAT([&] { two.first.sum().backward(); }, ThrowsMessage<Error>(HasSubstr("found another tensor")));
}

// Gradients that are given, so that the tree can be written by its definition.
TEST(GradientReducer, GivesTheBitsOfTheTreeAtAnyNumberOfRanksMicroBatchesAndBuckets) {
  std::mt19937 random(7);
  at::manual_seed(7);
  for (int trial = 0; trial < 60; ++trial) {
    const auto micro_batches = static_cast<std::int64_t>(1 + random() % 20);
    const int ranks = static_cast<int>(1 + random() % 8);
    std::vector<std::int64_t> bounds = {0, micro_batches};
    while (std::ssize(bounds) < ranks + 1) {
      bounds.push_back(static_cast<std::int64_t>(random() % (micro_batches + 1)));
    }
    std::ranges::sort(bounds);
    const SumTree tree(bounds);
    const auto bucket_bytes = static_cast<std::int64_t>(1 + random() % 2000);
    const std::vector<std::int64_t> sizes = {40, 7, 300};
    std::vector<std::vector<at::Tensor>> leaves(sizes.size());
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      for (std::int64_t i = 0; i < micro_batches; ++i) leaves[p].push_back(test::numbers_of_all_sizes(sizes[p]));
    }

    test::ThreadRanks(std::vector<int>(static_cast<std::size_t>(ranks), 0)).run([&](Communicator& communicator) {
      std::vector<at::Tensor> parameters;
      for (const std::int64_t size : sizes) parameters.push_back(at::zeros({size}).set_requires_grad(true));
      GradientReducer reducer(parameters, communicator, bucket_bytes);
      for (int step = 0; step < 2; ++step) {
        reducer.begin_step(tree);
        for (std::int64_t i = tree.first_leaf(communicator.rank()); i < tree.end_leaf(communicator.rank()); ++i) {
          reducer.begin_micro_batch(i);
          at::Tensor loss = at::zeros({});
          for (std::size_t p = 0; p < sizes.size(); ++p) loss = loss + (parameters[p] * leaves[p][i]).sum();
          loss.backward();
        }
        reducer.finish();
      }
      for (std::size_t p = 0; p < sizes.size(); ++p) {
        EXPECT_TRUE(test::same_bits(parameters[p].grad(), test::tree_sum(std::span<const at::Tensor>(leaves[p]))))
            << "rank " << communicator.rank() << " of " << ranks << ", parameter " << p << ", trial " << trial;
      }
    });
  }
}

TEST(GradientReducer, RefusesAMixOfTypes) {
  TwinCommunicator twin;
  const torch::Tensor floats = parameter({4});
  const torch::Tensor doubles = at::zeros({4}, at::kDouble).set_requires_grad(true);
  EXPECT_THAT([&] { GradientReducer({floats, doubles}, twin, 1); },
              ThrowsMessage<Error>(HasSubstr("expected all parameters to be Float on cpu")));
}

TEST(GradientReducer, RefusesAParameterThatIsListedTwice) {
  TwinCommunicator twin;
  const torch::Tensor weight = parameter({4});
  EXPECT_THAT([&] { GradientReducer({weight, weight}, twin, 1); },
              ThrowsMessage<Error>(HasSubstr("found one of shape [4] twice")));
}

}  // namespace
}  // namespace pixelbert::comm
