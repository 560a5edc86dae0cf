#include "optim/optim_config.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

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
  config.backbone_algorithm = Algorithm::AdamW;
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
  for (torch::Tensor w : {backbone[0].values, rest[0].values}) w.mutable_grad() = at::zeros({2, 2});
  optimizer.step(0, at::zeros({}, at::kDouble));
  EXPECT_FLOAT_EQ(backbone[0].values[0][0].item<float>(), 1 - 0.5f * 0.2f);
  EXPECT_FLOAT_EQ(rest[0].values[0][0].item<float>(), 1 - 0.25f * 0.4f);
}

// The weights of both groups: a matrix and a vector of ones each.
struct TwoGroups {
  NamedParameters backbone = {{"w", at::ones({2, 3}).requires_grad_()}, {"v", at::ones({3}).requires_grad_()}};
  NamedParameters rest = {{"b", at::ones({2, 3}).requires_grad_()}, {"u", at::ones({3}).requires_grad_()}};
};

// Makes three steps, in epochs of two, whose gradients have the norm 20. They change from step to step: with equal ones
// AdamW's steps would not depend on its betas.
TwoGroups after_three_steps(const OptimConfig& config) {
  TwoGroups groups;
  OptimizerGroups optimizer = make_optimizer(config, groups.backbone, groups.rest, /*steps_per_epoch=*/2);
  for (std::int64_t step = 0; step < 3; ++step) {
    const at::Tensor values = at::linspace(-1, 1, 9) + step;
    const at::Tensor gradient = values * (20 / (std::sqrt(2.0) * values.norm().item<double>()));  // of each group
    for (const auto& parameters : {groups.backbone, groups.rest}) {
      torch::Tensor matrix = parameters[0].values, vector = parameters[1].values;
      matrix.mutable_grad() = gradient.narrow(0, 0, 6).view({2, 3}).clone();  // clipping writes to it
      vector.mutable_grad() = gradient.narrow(0, 6, 3).clone();
    }
    optimizer.step(step, at::scalar_tensor(20.0, at::kDouble));
  }
  return groups;
}

bool same_values(const NamedParameters& a, const NamedParameters& b) {
  return a[0].values.equal(b[0].values) && a[1].values.equal(b[1].values);
}

TEST(MakeOptimizer, HandsEveryOptionOn) {
  OptimConfig base;  // with which each option matters within three steps
  base.backbone_rate = base.transformer_rate = 0.1;
  base.backbone_weight_decay = base.transformer_weight_decay = 0.1;
  base.eps = 0.1;  // with a small one AdamW's steps hardly depend on the scale of gradients, so on clipping
  base.warmup_steps = 2;
  base.drop_epochs = {1};
  std::size_t handed_on = 0;
  OptimConfig names;
  describe(names, [&](const char* wanted, auto&, const char*) {
    const std::string option(wanted);
    OptimConfig before = base;
    before.backbone_algorithm = option == "optim.backbone-momentum" ? Algorithm::Sgd : Algorithm::AdamW;
    OptimConfig after = before;
    describe(after, [&](const char* name, auto& value, const char*) {
      if (name != option) return;
      using Value = std::remove_reference_t<decltype(value)>;
      if constexpr (std::is_same_v<Value, Algorithm>) {
        value = Algorithm::Sgd;
      } else if constexpr (std::is_same_v<Value, bool>) {
        value = !value;
      } else if constexpr (std::is_same_v<Value, std::vector<double>>) {
        value = {0.5};
      } else if constexpr (std::is_same_v<Value, double>) {
        value /= 2;
      } else {
        value += 1;
      }
    });
    const TwoGroups usual = after_three_steps(before), other = after_three_steps(after);
    EXPECT_EQ(same_values(usual.backbone, other.backbone), option.starts_with("optim.transformer-")) << option;
    EXPECT_EQ(same_values(usual.rest, other.rest), option.starts_with("optim.backbone-")) << option;
    ++handed_on;
  });
  EXPECT_EQ(handed_on, 15u);
}

// Sets one option of each type to a value out of range, by its name in describe().
TEST(OptimOptions, AreRefusedByNameWhenTheyCannotWork) {
  std::size_t refused = 0;
  OptimConfig names;
  describe(names, [&](const char* wanted, auto&, const char*) {
    const std::string name(wanted);
    if (name == "optim.decay-vectors" || name == "optim.backbone-algorithm") return;  // each value works
    OptimConfig config;
    describe(config, [&](const char* name, auto& value, const char*) {
      if (std::string(name) != wanted) return;
      using Value = std::remove_reference_t<decltype(value)>;
      if constexpr (std::is_arithmetic_v<Value>) value = static_cast<Value>(-1);
      if constexpr (std::is_same_v<Value, std::vector<double>>) value = {25, 0};
    });
    EXPECT_THAT([&] { validate(config); },
                ThrowsMessage<UsageError>(HasSubstr(std::string("--") + wanted + " must be")));
    ++refused;
  });
  EXPECT_EQ(refused, 13u);
  EXPECT_NO_THROW(validate(OptimConfig()));
}

// Every two of these together: each is at the limit of what is accepted.
TEST(OptimOptions, WorkAtTheEdgesOfWhatIsAccepted) {
  constexpr double kBelowOne = 1 - 0x1p-53, kLeast = 5e-324;
  constexpr double kLeastFloat = std::numeric_limits<float>::min(), kMostFloat = std::numeric_limits<float>::max();
  constexpr std::int64_t kMostSteps = std::numeric_limits<std::int64_t>::max();
  using Set = void (*)(OptimConfig&);
  const std::vector<Set> edges = {
      [](OptimConfig& c) { c.backbone_algorithm = Algorithm::AdamW; },
      [](OptimConfig& c) { c.backbone_rate = 0; },
      [](OptimConfig& c) { c.backbone_rate = kLeast; },
      [](OptimConfig& c) { c.backbone_momentum = 0; },
      [](OptimConfig& c) { c.backbone_momentum = kBelowOne; },
      [](OptimConfig& c) { c.backbone_weight_decay = 0; },
      [](OptimConfig& c) { c.backbone_weight_decay = 1; },
      [](OptimConfig& c) { c.transformer_rate = 0; },
      [](OptimConfig& c) { c.transformer_rate = 1; },
      [](OptimConfig& c) { c.transformer_weight_decay = 0; },
      [](OptimConfig& c) { c.transformer_weight_decay = 1; },
      [](OptimConfig& c) { c.decay_vectors = true; },
      [](OptimConfig& c) { c.beta1 = 0; },
      [](OptimConfig& c) { c.beta1 = kBelowOne; },
      [](OptimConfig& c) { c.beta2 = 0; },
      [](OptimConfig& c) { c.beta2 = kBelowOne; },
      [](OptimConfig& c) { c.eps = kLeastFloat; },
      [](OptimConfig& c) { c.eps = kMostFloat; },
      [](OptimConfig& c) { c.warmup_steps = 0; },
      [](OptimConfig& c) { c.warmup_steps = 1; },
      [](OptimConfig& c) { c.warmup_steps = kMostSteps; },
      [](OptimConfig& c) { c.warmup_factor = 0; },
      [](OptimConfig& c) { c.warmup_factor = 1; },
      [](OptimConfig& c) { c.drop_epochs = {}; },
      [](OptimConfig& c) { c.drop_epochs = {kLeast}; },
      [](OptimConfig& c) { c.drop_epochs = {std::numeric_limits<double>::max()}; },
      [](OptimConfig& c) { c.drop_epochs = std::vector<double>(100, 1); },
      [](OptimConfig& c) { c.drop_factor = kLeast; },
      [](OptimConfig& c) { c.drop_factor = 1; },
      [](OptimConfig& c) { c.clip_norm = 0; },
      [](OptimConfig& c) { c.clip_norm = kLeast; },
      [](OptimConfig& c) { c.clip_norm = std::numeric_limits<double>::max(); },
  };
  for (std::size_t i = 0; i < edges.size(); ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      OptimConfig config;
      edges[i](config);
      edges[j](config);
      ASSERT_NO_THROW(validate(config)) << i << " and " << j;
      const NamedParameters backbone = {{"w", at::ones({2, 3}).requires_grad_()},
                                        {"v", at::ones({3}).requires_grad_()}};
      const NamedParameters rest = {{"b", at::ones({2, 3}).requires_grad_()}, {"u", at::ones({3}).requires_grad_()}};
      OptimizerGroups optimizer = make_optimizer(config, backbone, rest, 2);
      for (std::int64_t step = 0; step < 3; ++step) {
        for (const auto& parameters : {backbone, rest}) {
          for (auto [name, w, is_vector] : parameters) w.mutable_grad() = at::full_like(w, w.dim() > 1 ? 2.5 : 0.0);
        }
        ASSERT_NO_THROW(optimizer.step(step, at::scalar_tensor(std::sqrt(2 * 6 * 2.5 * 2.5), at::kDouble)))
            << i << " and " << j;
      }
      for (const auto& parameters : {backbone, rest}) {
        for (const auto& [name, w, is_vector] : parameters) {
          ASSERT_TRUE(w.detach().isfinite().all().item<bool>()) << name << " with " << i << " and " << j;
        }
      }
    }
  }
}

TEST(OptimOptions, AreRefusedOutsideOfWhatWorks) {
  OptimConfig names;
  describe(names, [](const char* wanted, auto&, const char*) {
    for (const double wrong :
         {double{NAN}, double{INFINITY}, -double{INFINITY}, -1e-300, std::numeric_limits<double>::max()}) {
      OptimConfig config;
      bool set = false;
      describe(config, [&](const char* name, auto& value, const char*) {
        if (std::string(name) != wanted) return;
        if constexpr (std::is_same_v<std::remove_reference_t<decltype(value)>, double>) {
          value = wrong;
          set = true;
        }
      });
      if (!set || (std::string(wanted) == "optim.clip-norm" && std::isfinite(wrong) && wrong > 0)) continue;
      EXPECT_THAT([&] { validate(config); },
                  ThrowsMessage<UsageError>(HasSubstr(std::string("--") + wanted + " must be")))
          << wrong;
    }
  });
  OptimConfig config;
  config.eps = 1e-40;  // 0 in float32 on a processor without denormal numbers
  EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr("--optim.eps must be")));
}

}  // namespace
}  // namespace pixelbert::optim
