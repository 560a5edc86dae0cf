#include "comm/gradient_reducer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <random>
#include <span>

#include "comm/group_sum.h"
#include "comm/solo_communicator.h"
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
  void send(torch::Tensor, int) override { std::terminate(); }
  void receive(torch::Tensor, int) override { std::terminate(); }
  void barrier() override {}
  std::unique_ptr<Work> all_reduce(torch::Tensor, ReduceOp) override { std::terminate(); }
  std::unique_ptr<Work> reduce_scatter(const SumTree& tree, std::vector<torch::Tensor> own,
                                       torch::Tensor result) override {
    check_values(tree.nodes(0), own, result);
    started.push_back(result.numel());
    for (std::size_t i = 0; i + 1 < own.size(); ++i) result.add_(own[i]);
    return std::make_unique<Doubling>(*this, result);
  }
  Range slice(std::int64_t size, int rank) const override { return rank == 0 ? Range{0, size} : Range{size, size}; }
  std::unique_ptr<Work> all_gather(torch::Tensor) override { std::terminate(); }

  std::vector<std::int64_t> started;  // elements of each call
  int waited = 0;

 private:
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
  torch::Tensor first = parameter({2048});
  torch::Tensor last = parameter({1024});
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
    EXPECT_THAT(two.twin.started, ElementsAre(1024, 2048)) << "all buckets start before finish()";
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
  EXPECT_THAT(started_so_far, ElementsAre(1024));
}

TEST(GradientReducer, SaysWhenTheLastBackwardFilledEachBucket) {
  using Clock = std::chrono::steady_clock;
  const torch::Tensor first = parameter({2048}), last = parameter({1024}), unused = parameter({512});
  TwinCommunicator twin;
  GradientReducer reducer({unused, first, last}, twin, 1);
  EXPECT_THAT(bucket_sizes({unused, first, last}, 1), ElementsAre(4096, 8192, 4096)) << "whole cells";
  reducer.begin_step(each(2));
  reducer.begin_micro_batch(0);
  (first.sum() * last.sum()).backward();
  EXPECT_FALSE(reducer.full_at()[0]) << "not the rank's last micro-batch";
  reducer.begin_micro_batch(1);
  Clock::time_point between;
  const torch::Tensor early_layer = first * 1;
  early_layer.register_hook([&](const torch::Tensor& gradient) {
    between = Clock::now();
    return gradient;
  });
  const Clock::time_point begin = Clock::now();
  (early_layer.sum() * last.sum()).backward();
  const std::vector<GradientReducer::FullAt> full = reducer.full_at();
  ASSERT_EQ(full.size(), 3u);
  ASSERT_TRUE(full[0] && full[1]);
  EXPECT_LE(begin, *full[0]);
  EXPECT_LE(*full[0], between);
  EXPECT_LE(between, *full[1]);
  EXPECT_FALSE(full[2]) << "no gradient";
  reducer.finish();
  begin_only_micro_batch(reducer);
  EXPECT_FALSE(reducer.full_at()[0]) << "a new step";
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
  GradientReducer reducer({frozen, kernel, bias, scale}, twin, 8192);
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
  EXPECT_THAT(two.twin.started, ElementsAre(1024, 2048));
  EXPECT_TRUE(at::equal(two.first.grad(), at::full({2048}, 12.0)));
  EXPECT_TRUE(at::equal(two.last.grad(), at::full({1024}, 12.0)));
}

TEST(GradientReducer, StartsEachStepAnew) {
  TwoParameters two;
  for (int step = 0; step < 3; ++step) {
    begin_only_micro_batch(two.reducer);
    (two.first.sum() + two.last.sum()).backward();
    two.reducer.finish();
    EXPECT_TRUE(at::equal(two.first.grad(), at::full({2048}, 2.0)));
  }
  EXPECT_THAT(two.twin.started, ElementsAre(1024, 2048, 1024, 2048, 1024, 2048));
  EXPECT_EQ(two.reducer.reduced_bytes(), 3 * (1024 + 2048) * 4);
}

TEST(GradientReducer, CountsAParameterUsedTwiceOnce) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  (two.first.sum() + two.last.sum() + (two.last * 3).sum()).backward();
  two.reducer.finish();
  EXPECT_TRUE(at::equal(two.last.grad(), at::full({1024}, 8.0)));
}

TEST(GradientReducer, TakesAnUnusedParameterAsZero) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  two.first.sum().backward();
  EXPECT_THAT(two.twin.started, IsEmpty()) << "the bucket before it has not filled";
  two.reducer.finish();
  EXPECT_THAT(two.twin.started, ElementsAre(1024, 2048));
  EXPECT_TRUE(at::equal(two.first.grad(), at::full({2048}, 2.0)));
  EXPECT_TRUE(at::equal(two.last.grad(), at::zeros({1024})));
}

TEST(GradientReducer, MakesTheSameCallsOnARankWithoutAMicroBatch) {
  TwoParameters two;
  two.reducer.begin_step(SumTree({0, 0, 1}));
  two.reducer.finish();
  EXPECT_THAT(two.twin.started, ElementsAre(1024, 2048));
  EXPECT_TRUE(at::equal(two.first.grad(), at::zeros({2048})));
}

// The last step of an epoch may be so short. Full ones, with four micro-batches on the rank, leave sums to be added.
TEST(GradientReducer, TakesAStepWithoutAMicroBatchAfterFullOnes) {
  TwoParameters two;
  for (int step = 0; step < 2; ++step) {
    two.reducer.begin_step(each(4));
    for (int i = 0; i < 4; ++i) {
      two.reducer.begin_micro_batch(i);
      (two.first.sum() + two.last.sum()).backward();
    }
    two.reducer.finish();
    EXPECT_EQ(two.reducer.pieces()[0].weights.grad()[0].item<float>(), 8);

    two.reducer.begin_step(SumTree({0, 0, 1}));
    two.reducer.finish();
    EXPECT_EQ(two.reducer.pieces()[0].weights.grad()[0].item<float>(), 0);
  }
}

TEST(GradientReducer, WaitsForNobodyWhenAnErrorComesBeforeFinish) {
  TwinCommunicator twin;
  torch::Tensor weight = parameter({2048});
  {
    GradientReducer reducer({weight}, twin, 1);
    begin_only_micro_batch(reducer);
    weight.sum().backward();
  }
  EXPECT_THAT(twin.started, ElementsAre(2048));
  EXPECT_EQ(twin.waited, 0);
  weight.sum().backward();  // the parameter no longer knows the reducer
  EXPECT_THAT(twin.started, ElementsAre(2048));
  EXPECT_TRUE(at::equal(weight.grad(), at::full({2048}, 2.0)));
}

TEST(GradientReducer, RefusesASecondBackwardOfTheLastMicroBatch) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  two.first.sum().backward();
  EXPECT_THAT([&] { two.first.sum().backward(); },
              ThrowsMessage<Error>(HasSubstr("a second backward for one micro-batch")));
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
  two.first.sum().backward();
  two.first.mutable_grad().reset();
  EXPECT_THAT([&] { two.reducer.finish(); }, ThrowsMessage<Error>(HasSubstr("found none: zero gradients with")));

  TwoParameters other;
  other.reducer.begin_step(each(2));
  other.reducer.begin_micro_batch(0);
  other.first.sum().backward();
  other.first.mutable_grad().reset();  // the next backward would not add
  other.reducer.begin_micro_batch(1);
  EXPECT_THAT([&] { other.first.sum().backward(); }, ThrowsMessage<Error>(HasSubstr("found another tensor")));
}

// A sum is that of its parts, whichever of them have no gradient, or a sparse one.
TEST(GradientReducer, TakesMissingAndSparseGradients) {
  SoloCommunicator solo;
  const at::Tensor words = parameter({7, 300}), rare = parameter({5});
  GradientReducer reducer({words, rare}, solo, 1 << 20);
  for (int step = 0; step < 3; ++step) {  // what a step before has left does not matter
    reducer.begin_step(SumTree({0, 4}));
    at::Tensor expected_words = at::zeros({7, 300}), expected_rare = at::zeros({5});
    for (std::int64_t i = 0; i < 4; ++i) {
      reducer.begin_micro_batch(i);
      const bool sparse = (i + step) % 2 == 0;
      const at::Tensor rows = at::embedding(words, at::tensor({1, 1, 6}), -1, false, sparse);
      at::Tensor loss = rows.sum();
      expected_words[1] += 2;
      expected_words[6] += 1;
      if (i == step) {
        loss = loss + 3 * rare.sum();
        expected_rare += 3;
      }
      loss.backward();
    }
    reducer.finish();
    EXPECT_TRUE(at::equal(words.grad(), expected_words));
    EXPECT_TRUE(at::equal(rare.grad(), expected_rare));
  }
}

TEST(GradientReducer, NoticesWeightsThatWereMovedElsewhere) {
  TwoParameters two;
  begin_only_micro_batch(two.reducer);
  two.first.set_data(at::zeros({2048}));
  EXPECT_THAT([&] { two.reducer.finish(); }, ThrowsMessage<Error>(HasSubstr("which no update would reach")));
}

// A training whose gradients are given, so that the tree can be written by its definition.
struct GivenGradients {
  GivenGradients(std::mt19937& random) {
    const auto micro_batches = static_cast<std::int64_t>(1 + random() % 20);
    bounds = {0, micro_batches};
    const auto ranks = 1 + random() % 8;
    while (bounds.size() < ranks + 1) bounds.push_back(static_cast<std::int64_t>(random() % (micro_batches + 1)));
    std::ranges::sort(bounds);
    bucket_bytes = static_cast<std::int64_t>(1 + random() % 40000);
    for (const std::int64_t size : sizes) {
      for (std::int64_t i = 0; i < micro_batches; ++i) leaves[size].push_back(test::numbers_of_all_sizes(size));
      if (size == kSometimesUsed) {
        for (at::Tensor& leaf : leaves[size]) {
          const auto draw = random() % 3;
          if (draw == 0) leaf = at::zeros({size});  // not used
          if (draw == 1) leaf = at::zeros({size}).neg();
        }
      }
      sums[size] = test::tree_sum(std::span<const at::Tensor>(leaves[size]));
    }
  }

  int ranks() const { return static_cast<int>(bounds.size()) - 1; }

  std::vector<at::Tensor> make_parameters() const {
    std::vector<at::Tensor> parameters;
    for (const std::int64_t size : sizes) parameters.push_back(at::ones({size}).set_requires_grad(true));
    return parameters;
  }

  void sum(GradientReducer& reducer, const std::vector<at::Tensor>& parameters, int rank) const {
    const SumTree tree(bounds);
    reducer.begin_step(tree);
    for (std::int64_t i = tree.first_leaf(rank); i < tree.end_leaf(rank); ++i) {
      reducer.begin_micro_batch(i);
      at::Tensor loss = at::zeros({});
      for (const at::Tensor& parameter : parameters) {
        const at::Tensor& leaf = leaves.at(parameter.numel())[static_cast<std::size_t>(i)];
        if (!test::same_bits(leaf, at::zeros_like(leaf))) loss = loss + (parameter * leaf).sum();
      }
      loss.backward();
    }
    reducer.finish();
  }

  // The gradients of a parameter of this size are numbers, -0, or none, and then count as 0.
  static constexpr std::int64_t kSometimesUsed = 7;
  const std::vector<std::int64_t> sizes = {40, kSometimesUsed, 9000, 1024};
  std::vector<std::int64_t> bounds;
  std::int64_t bucket_bytes = 1;
  std::map<std::int64_t, std::vector<at::Tensor>> leaves;  // by size
  std::map<std::int64_t, at::Tensor> sums;
};

TEST(GradientReducer, GivesEachElementToOneRankWithTheBitsOfTheTree) {
  std::mt19937 random(7);
  at::manual_seed(7);
  for (int trial = 0; trial < 60; ++trial) {
    const GivenGradients given(random);
    std::mutex mutex;
    std::map<std::int64_t, at::Tensor> owners;
    for (const std::int64_t size : given.sizes) owners[size] = at::zeros({size});
    test::ThreadRanks(std::vector<int>(static_cast<std::size_t>(given.ranks()), 0))
        .run([&](Communicator& communicator) {
          const std::vector<at::Tensor> parameters = given.make_parameters();
          GradientReducer reducer(parameters, communicator, given.bucket_bytes);
          for (int step = 0; step < 2; ++step) given.sum(reducer, parameters, communicator.rank());
          const std::lock_guard lock(mutex);
          for (const Piece& piece : reducer.pieces()) {
            const std::int64_t size = given.sizes[piece.parameter], begin = piece.elements.begin,
                               end = piece.elements.end;
            EXPECT_TRUE(test::same_bits(piece.weights.grad(), given.sums.at(size).slice(0, begin, end)))
                << "rank " << communicator.rank() << " of " << given.ranks() << ", trial " << trial;
            owners[size].slice(0, begin, end).add_(1);
          }
        });
    for (const auto& [size, count] : owners) EXPECT_TRUE(count.eq(1).all().item<bool>()) << "trial " << trial;
  }
}

TEST(GradientReducer, GivesEveryRankTheWeightsThatTheOthersUpdate) {
  std::mt19937 random(8);
  for (int trial = 0; trial < 20; ++trial) {
    const GivenGradients given(random);
    test::ThreadRanks(std::vector<int>(static_cast<std::size_t>(given.ranks()), 0))
        .run([&](Communicator& communicator) {
          const std::vector<at::Tensor> parameters = given.make_parameters();
          GradientReducer reducer(parameters, communicator, given.bucket_bytes);
          for (const Piece& piece : reducer.pieces()) {
            piece.weights.copy_(at::arange(piece.elements.begin, piece.elements.end));
          }
          reducer.gather_weights();
          for (const at::Tensor& parameter : parameters) {
            EXPECT_TRUE(parameter.detach().equal(at::arange(parameter.numel()).to(at::kFloat)));
          }
        });
  }
}

double norm_at(const GivenGradients& given, int ranks, std::int64_t bucket_bytes) {
  GivenGradients dealt = given;
  const std::int64_t micro_batches = given.bounds.back();
  dealt.bounds = {0};
  for (int rank = 1; rank <= ranks; ++rank) dealt.bounds.push_back(micro_batches * rank / ranks);
  std::vector<double> norms(static_cast<std::size_t>(ranks));
  test::ThreadRanks(std::vector<int>(static_cast<std::size_t>(ranks), 0)).run([&](Communicator& communicator) {
    const std::vector<at::Tensor> parameters = dealt.make_parameters();
    GradientReducer reducer(parameters, communicator, bucket_bytes);
    dealt.sum(reducer, parameters, communicator.rank());
    norms[static_cast<std::size_t>(communicator.rank())] = reducer.gradient_norm().item<double>();
  });
  for (const double norm : norms) EXPECT_EQ(norm, norms[0]);
  return norms[0];
}

TEST(GradientNorm, HasTheSameBitsAtAnyNumberOfRanksBucketsAndThreads) {
  std::mt19937 random(9);
  for (int trial = 0; trial < 10; ++trial) {
    const GivenGradients given(random);
    const double expected = norm_at(given, 1, 1 << 20);
    double squares = 0;
    for (const auto& [size, sum] : given.sums) squares += sum.to(at::kDouble).square().sum().item<double>();
    EXPECT_NEAR(expected / std::sqrt(squares), 1, 1e-6);
    for (const int ranks : {2, 3, 5, 8}) EXPECT_EQ(norm_at(given, ranks, given.bucket_bytes), expected);
  }

  SoloCommunicator solo;
  const at::Tensor large = at::randn({1200, 1300}).set_requires_grad(true);
  GradientReducer reducer({large}, solo, 1 << 20);
  large.mutable_grad() = at::randn({1200, 1300});
  EXPECT_TRUE(reducer.finite());
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const double alone = reducer.gradient_norm().item<double>();
  for (const int threads : {2, 3, 8}) {
    at::set_num_threads(threads);
    EXPECT_EQ(reducer.gradient_norm().item<double>(), alone) << threads << " threads";
  }
  at::set_num_threads(before);
}

TEST(GradientNorm, IsThatOfAllGradientsTogether) {
  const at::Tensor a = parameter({2, 2}), b = parameter({3});
  SoloCommunicator solo;
  GradientReducer reducer({a, b}, solo, 1);
  a.mutable_grad() = at::full({2, 2}, 3.0);
  b.mutable_grad() = at::tensor({0.0, 8.0, 0.0});
  EXPECT_TRUE(reducer.finite());
  EXPECT_DOUBLE_EQ(reducer.gradient_norm().item<double>(), 10);
  for (const double broken : {double{INFINITY}, double{NAN}}) {
    b.mutable_grad()[1] = broken;
    EXPECT_FALSE(std::isfinite(reducer.gradient_norm().item<double>()));
    EXPECT_FALSE(reducer.finite());
  }
}

TEST(GradientNorm, IsNanOnAllRanksWhenOneHasAVeto) {
  for (const int of : {0, 1, 2, 3}) {  // 3: no rank
    test::ThreadRanks({0, 0, 0}).run([&](Communicator& communicator) {
      const at::Tensor a = parameter({2048}), b = parameter({3});
      GradientReducer reducer({a, b}, communicator, 1);
      reducer.begin_step(SumTree({0, 1, 2, 2}));
      if (communicator.rank() < 2) {
        reducer.begin_micro_batch(communicator.rank());
        (a.sum() + b.sum()).backward();
      }
      reducer.finish();
      const double plain = reducer.gradient_norm().item<double>();
      EXPECT_NEAR(plain, 2 * std::sqrt(2051), 1e-3);
      const at::Tensor veto = communicator.rank() == 2 && of != 2
                                  ? at::Tensor()  // it has no losses
                                  : at::full({}, communicator.rank() == of ? NAN : 0.0F);
      const double norm = reducer.gradient_norm(veto).item<double>();
      EXPECT_EQ(std::isnan(norm), of < 3);
      if (of == 3) {
        EXPECT_EQ(norm, plain);
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
