#include "optim/optim_config.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>

#include "core/check.h"

namespace pixelbert::optim {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

NamedParameters one(const std::string& name) {
  return {{name, at::ones({2, 2}).requires_grad_()}};
}

// Rates of the paper for both groups over 40 epochs: warm-up in the first epoch, drops after epochs 25 and 35.
TEST(MakeOptimizer, FollowsThePapersScheduleByDefault) {
  constexpr std::int64_t kStepsPerEpoch = 1460;
  const OptimizerGroups optimizer = make_optimizer({}, one("backbone.w"), one("bert.w"), kStepsPerEpoch);
  for (std::int64_t epoch = 0; epoch < 40; ++epoch) {
    for (const std::int64_t in_epoch : {std::int64_t{0}, kStepsPerEpoch / 4, kStepsPerEpoch - 1}) {
      const std::int64_t step = epoch * kStepsPerEpoch + in_epoch;
      const double warmup = step < 1000 ? 1.0 / 3 + 2.0 / 3 * static_cast<double>(step) / 1000 : 1;
      const double drop = epoch < 25 ? 1 : epoch < 35 ? 0.1 : 0.01;
      const auto rates = optimizer.learning_rates(step);
      EXPECT_NEAR(rates.at("backbone"), 1e-2 * warmup * drop, 1e-12) << "at step " << step;
      EXPECT_NEAR(rates.at("transformer"), 1e-4 * warmup * drop, 1e-14) << "at step " << step;
    }
  }
}

TEST(MakeOptimizer, UsesTheAlgorithmAskedForOnTheBackbone) {
  EXPECT_TRUE(make_optimizer({}, one("w"), one("b"), 1).named_state().contains("w.momentum"));
  EXPECT_TRUE(make_optimizer({}, one("w"), one("b"), 1).named_state().contains("b.exp_avg"));
  OptimConfig config;
  config.backbone_algorithm = "adamw";
  EXPECT_TRUE(make_optimizer(config, one("w"), one("b"), 1).named_state().contains("w.exp_avg"));
}

TEST(MakeOptimizer, LeavesOutAFrozenBackbone) {
  EXPECT_EQ(make_optimizer({}, {}, one("b"), 1).learning_rates(0).size(), 1u);
}

TEST(MakeOptimizer, HandsEachGroupItsOwnNumbers) {
  OptimConfig config;
  config.backbone_rate = 0.5;
  config.backbone_weight_decay = 0.2;
  config.transformer_rate = 0.25;
  config.transformer_weight_decay = 0.4;
  config.warmup_steps = 0;
  const NamedParameters backbone = one("w"), rest = one("b");
  OptimizerGroups optimizer = make_optimizer(config, backbone, rest, 1);
  for (torch::Tensor w : {backbone[0].second, rest[0].second}) w.mutable_grad() = at::zeros({2, 2});
  optimizer.step(0, 0);
  EXPECT_FLOAT_EQ(backbone[0].second[0][0].item<float>(), 1 - 0.5f * 0.2f);
  EXPECT_FLOAT_EQ(rest[0].second[0][0].item<float>(), 1 - 0.25f * 0.4f);
}

// Sets one option of each type to a value out of range, by its name in describe().
TEST(OptimOptions, AreRefusedByNameWhenTheyCannotWork) {
  std::size_t refused = 0;
  OptimConfig names;
  describe(names, [&](const char* wanted, auto&, const char*) {
    if (std::string(wanted) == "optim.decay-vectors") return;  // both values work
    OptimConfig config;
    describe(config, [&](const char* name, auto& value, const char*) {
      if (std::string(name) != wanted) return;
      using Value = std::remove_reference_t<decltype(value)>;
      if constexpr (std::is_arithmetic_v<Value>) value = static_cast<Value>(-1);
      if constexpr (std::is_same_v<Value, std::string>) value = "adam";
      if constexpr (std::is_same_v<Value, std::vector<std::int64_t>>) value = {25, 0};
    });
    EXPECT_THAT([&] { validate(config); },
                ThrowsMessage<UsageError>(HasSubstr(std::string("--") + wanted + " must be")));
    ++refused;
  });
  EXPECT_EQ(refused, 14u);
  EXPECT_NO_THROW(validate({}));
}

}  // namespace
}  // namespace pixelbert::optim
