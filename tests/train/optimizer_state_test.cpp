#include "train/optimizer_state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <mutex>

#include "checkpoint/checkpoint_store.h"
#include "core/check.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tree_sum.h"
#include "train/background_save.h"

namespace pixelbert::train {
namespace {

namespace fs = std::filesystem;
using checkpoint::NamedTensors;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A training on one of several ranks: one micro-batch a step, whose gradient is given.
struct Training {
  explicit Training(comm::Communicator& communicator, double rate = 1e-4, double weight_decay = 0)
      : communicator(communicator),
        parameters(make_parameters()),
        reducer(parameters, communicator, 30000),
        optimizer(make_optimizer(rate, weight_decay)),
        state(names, parameters, reducer, optimizer, communicator) {}

  static std::vector<at::Tensor> make_parameters() {
    const at::Tensor kernel = at::linspace(-1, 1, 8 * 16 * 9).view({8, 16, 3, 3});
    return {kernel.contiguous(at::MemoryFormat::ChannelsLast).set_requires_grad(true),
            at::linspace(0, 1, 40).set_requires_grad(true), at::ones({3}),  // the last one is frozen
            at::linspace(1, 2, 90 * 70).view({90, 70}).set_requires_grad(true)};
  }

  optim::OptimizerGroups make_optimizer(double rate, double weight_decay) const {
    const optim::NamedParameters pieces = own_pieces(names, parameters, reducer);
    optim::Group backbone, rest;
    backbone.name = "backbone";
    backbone.algorithm = optim::Algorithm::Sgd;
    backbone.parameters = {pieces[0]};
    rest.name = "transformer";
    rest.parameters = {pieces[1], pieces[3]};
    backbone.schedule.base = rest.schedule.base = rate;
    backbone.weight_decay = rest.weight_decay = weight_decay;
    return {{backbone, rest}, /*clip_norm=*/1};
  }

  // The gradients are in proportion to `slope`.
  void step(std::int64_t number, double slope = 1) {
    std::vector<std::int64_t> bounds(static_cast<std::size_t>(communicator.world_size()) + 1, 1);
    bounds[0] = 0;
    reducer.begin_step(comm::SumTree(bounds));
    if (communicator.rank() == 0) {
      reducer.begin_micro_batch(0);
      at::Tensor loss = at::zeros({});
      for (const at::Tensor& parameter : parameters) {
        loss = loss + slope * (parameter * (parameter.detach() + static_cast<double>(number)).sin()).sum();
      }
      loss.backward();
    }
    reducer.finish();
    optimizer.step(number, reducer.gradient_norm());
    reducer.gather_weights();
  }

  comm::Communicator& communicator;
  std::vector<std::string> names = {"kernel", "bias", "frozen", "weight"};
  std::vector<at::Tensor> parameters;
  comm::GradientReducer reducer;
  optim::OptimizerGroups optimizer;
  OptimizerState state;
};

struct Result {
  std::vector<at::Tensor> weights;
  NamedTensors state;
};

// Collective. Returns the whole state, on every rank, as it comes back from a checkpoint.
NamedTensors saved_state(const Training& training, const fs::path& folder,
                         std::shared_ptr<comm::Communicator> communicator, std::vector<int> writers) {
  checkpoint::Description description;
  description.step = 1;
  BackgroundSave save({.folder = folder, .writers = std::move(writers), .communicator = std::move(communicator)},
                      description, {}, training.state.tensors());
  EXPECT_EQ(save.wait().failure, "");
  return checkpoint::load(folder)->optimizer;
}

// Trains from step `begin`, with the state of `before`; returns what rank 0 then has.
Result train(const std::vector<int>& host_of_rank, std::int64_t begin, std::int64_t end,
             const Result* before = nullptr) {
  Result result;
  const test::TemporaryFolder folder;
  std::vector<int> writers;
  for (int rank = 0; rank < static_cast<int>(host_of_rank.size()); ++rank) {
    if (host_of_rank[static_cast<std::size_t>(rank)] == host_of_rank[0]) writers.push_back(rank);
  }
  test::ThreadRanks savers(host_of_rank);
  test::ThreadRanks(host_of_rank).run([&](comm::Communicator& communicator) {
    Training training(communicator);
    if (before) {
      const at::NoGradGuard no_grad;
      for (std::size_t i = 0; i < before->weights.size(); ++i) training.parameters[i].copy_(before->weights[i]);
      training.state.restore(communicator.rank() == 0 ? before->state : NamedTensors());
    }
    for (std::int64_t step = begin; step < end; ++step) training.step(step);
    const NamedTensors whole =
        saved_state(training, folder.path(),
                    std::make_shared<test::ThreadRanks::Communicator>(savers, communicator.rank()), writers);
    if (communicator.rank() != 0) return;
    result.state = whole;
    for (const at::Tensor& parameter : training.parameters) result.weights.push_back(parameter.detach().clone());
  });
  return result;
}

Result train(int ranks, std::int64_t begin, std::int64_t end, const Result* before = nullptr) {
  return train(std::vector<int>(static_cast<std::size_t>(ranks), 0), begin, end, before);
}

void expect_same(const Result& a, const Result& b, const std::string& what) {
  for (std::size_t i = 0; i < a.weights.size(); ++i) EXPECT_TRUE(test::same_bits(a.weights[i], b.weights[i])) << what;
  ASSERT_EQ(a.state.size(), b.state.size());
  for (const auto& [name, tensor] : a.state) {
    EXPECT_EQ(tensor.sizes(), b.state.at(name).sizes()) << name << ", " << what;
    EXPECT_TRUE(test::same_bits(tensor, b.state.at(name))) << name << ", " << what;
  }
}

TEST(DividedOptimizer, HasTheBitsOfOneRankAtAnyNumberOfRanks) {
  const Result one = train(1, 0, 4);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : one.state) names.push_back(name);
  EXPECT_THAT(names, testing::ElementsAre("bias.exp_avg", "bias.exp_avg_sq", "bias.step", "kernel.momentum",
                                          "weight.exp_avg", "weight.exp_avg_sq", "weight.step"));
  EXPECT_EQ(one.state.at("kernel.momentum").sizes(), at::IntArrayRef({8, 16, 3, 3}));
  EXPECT_EQ(one.state.at("weight.step").item<float>(), 4);
  for (const int ranks : {2, 3, 5, 12}) expect_same(train(ranks, 0, 4), one, fmt::format("{} ranks", ranks));
  for (const std::vector<int>& hosts : {std::vector{0, 1}, {0, 1, 1}, {0, 0, 1, 1}, {0, 1, 0, 2, 1, 2}}) {
    expect_same(train(hosts, 0, 4), one, fmt::format("ranks on hosts {}", fmt::join(hosts, ", ")));
  }
}

TEST(DividedOptimizer, ContinuesOnAnotherNumberOfRanks) {
  const Result one = train(1, 0, 6);
  Result chain = train(3, 0, 2);
  chain = train(1, 2, 3, &chain);
  chain = train(8, 3, 5, &chain);
  chain = train(2, 5, 6, &chain);
  expect_same(chain, one, "3, 1, 8 and 2 ranks");
}

// A piece has one dimension, that of a matrix too: whether it decays follows from its parameter.
TEST(DividedOptimizer, DecaysMatricesAndNotVectorsWhicheverRankHasThem) {
  for (const std::vector<int>& hosts : {std::vector{0}, {0, 0, 0}}) {
    test::ThreadRanks(hosts).run([&](comm::Communicator& communicator) {
      Training training(communicator, /*rate=*/0.1, /*weight_decay=*/0.5);
      training.step(0, /*slope=*/0);
      const std::vector<at::Tensor> before = Training::make_parameters();
      for (std::size_t i = 0; i < before.size(); ++i) {
        const at::Tensor found = training.parameters[i].detach(), made = before[i].detach();
        const bool decays = made.dim() > 1;
        EXPECT_TRUE(decays ? found.allclose(made * (1 - 0.1 * 0.5), 1e-6, 1e-7) : test::same_bits(found, made))
            << training.names[i] << " on rank " << communicator.rank() << " of " << hosts.size();
      }
    });
  }
}

TEST(DividedOptimizer, HoldsAPartOfTheState) {
  std::mutex mutex;
  std::vector<std::int64_t> numbers;
  test::ThreadRanks({0, 0, 0}).run([&](comm::Communicator& communicator) {
    const Training training(communicator);
    std::int64_t own = 0;
    for (const auto& [name, tensor] : training.state.tensors()) {
      if (tensor.own.defined() && tensor.own.dim() != 0) own += tensor.own.numel();
    }
    const std::lock_guard lock(mutex);
    numbers.push_back(own);
  });
  EXPECT_EQ(numbers[0] + numbers[1] + numbers[2], 8 * 16 * 9 + 2 * (40 + 90 * 70));
  for (const std::int64_t own : numbers) EXPECT_LT(own, 7000);
}

TEST(DividedOptimizer, NamesWhatACheckpointLacks) {
  NamedTensors saved = train(1, 0, 1).state;
  test::ThreadRanks({0}).run([&](comm::Communicator& communicator) {
    const Training training(communicator);
    saved["bias.exp_avg"] = at::zeros({41});
    EXPECT_THAT([&] { training.state.restore(saved); },
                ThrowsMessage<Error>(HasSubstr("tensor 'bias.exp_avg' is [41], this model needs [40]")));
    saved.erase("bias.exp_avg");
    EXPECT_THAT([&] { training.state.restore(saved); },
                ThrowsMessage<Error>(HasSubstr("the checkpoint has no tensor 'bias.exp_avg'")));
  });
}

}  // namespace
}  // namespace pixelbert::train
