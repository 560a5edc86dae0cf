#include "optim/optimizer_groups.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::optim {
namespace {

using test::max_difference;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

torch::Tensor weight(at::IntArrayRef shape, std::uint64_t seed = 1) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::kFloat).requires_grad_();
}

void set_gradient(torch::Tensor parameter, const torch::Tensor& values) {
  parameter.mutable_grad() = at::empty_like(parameter.detach()).copy_(values);
}

torch::Tensor gradient_of_step(at::IntArrayRef shape, std::int64_t step) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(100 + step), at::kFloat);
}

torch::Tensor norm_of(const std::vector<torch::Tensor>& parameters) {
  torch::Tensor squares = at::zeros({}, at::kDouble);
  for (const torch::Tensor& w : parameters) squares += w.grad().to(at::kDouble).square().sum();
  return squares.sqrt();
}

const torch::Tensor kOne = at::ones({}, at::kDouble);

Schedule constant(double rate) {
  return {.base = rate, .warmup_steps = 0, .drop_at_steps = {}};
}

Group sgd(NamedParameters parameters, double rate = 0.1, double decay = 0.05) {
  Group group;
  group.name = "backbone";
  group.parameters = std::move(parameters);
  group.algorithm = Algorithm::Sgd;
  group.schedule = constant(rate);
  group.weight_decay = decay;
  return group;
}

Group adamw(NamedParameters parameters, double rate = 0.01, double decay = 0.05) {
  Group group = sgd(std::move(parameters), rate, decay);
  group.name = "transformer";
  group.algorithm = Algorithm::AdamW;
  return group;
}

// The definitions, written out in double precision: torch.optim.SGD and torch.optim.AdamW.
struct Reference {
  torch::Tensor weight, first, second;

  explicit Reference(const torch::Tensor& start)
      : weight(start.detach().to(at::kDouble)), first(at::zeros_like(weight)), second(at::zeros_like(weight)) {}

  void sgd(const torch::Tensor& gradient, double rate, double decay, double momentum, bool is_first) {
    const torch::Tensor decayed = gradient.to(at::kDouble) + decay * weight;
    first = is_first ? decayed : momentum * first + decayed;
    weight = weight - rate * first;
  }

  void adamw(const torch::Tensor& gradient, double rate, double decay, double t) {
    const torch::Tensor g = gradient.to(at::kDouble);
    weight = weight * (1 - rate * decay);
    first = 0.9 * first + 0.1 * g;
    second = 0.999 * second + 0.001 * g * g;
    const torch::Tensor mean = first / (1 - std::pow(0.9, t)), square = second / (1 - std::pow(0.999, t));
    weight = weight - rate * mean / (square.sqrt() + 1e-6);
  }
};

// Sizes around the vector width of the fused operators, and one above their unit of parallelism.
const std::vector<std::vector<std::int64_t>> kShapes = {{3, 5}, {16, 16}, {7, 3, 3, 3}, {200, 301}};

TEST(OptimizerGroups, SgdEqualsItsDefinition) {
  for (const auto& shape : kShapes) {
    const torch::Tensor w = weight(shape);
    Reference reference(w);
    OptimizerGroups optimizer({sgd({{"w", w}})}, 0);
    for (std::int64_t step = 0; step < 5; ++step) {
      const torch::Tensor g = gradient_of_step(shape, step);
      set_gradient(w, g);
      optimizer.step(step, norm_of({w}));
      reference.sgd(g, 0.1, 0.05, 0.9, step == 0);
    }
    // Float32 rounding of five updates of size about 0.1 on weights of size about 1.
    EXPECT_LT(max_difference(w.detach(), reference.weight), 2e-6) << "shape " << at::IntArrayRef(shape);
    EXPECT_LT(max_difference(optimizer.named_state().at("w.momentum"), reference.first), 5e-6);
  }
}

TEST(OptimizerGroups, SgdWithoutMomentumEqualsItsDefinitionAndHasNoState) {
  for (const auto& shape : kShapes) {
    for (const double clip : {0.0, 1.0}) {
      const torch::Tensor w = weight(shape);
      Reference reference(w);
      Group group = sgd({{"w", w}});
      group.momentum = 0;
      OptimizerGroups optimizer({group}, clip);
      for (std::int64_t step = 0; step < 5; ++step) {
        torch::Tensor g = gradient_of_step(shape, step);
        set_gradient(w, g);
        const torch::Tensor norm = norm_of({w});
        optimizer.step(step, norm);
        if (clip > 0) g = g / norm;  // it is more than 1
        reference.sgd(g, 0.1, 0.05, 0, step == 0);
      }
      EXPECT_LT(max_difference(w.detach(), reference.weight), 2e-6) << "shape " << at::IntArrayRef(shape);
      EXPECT_TRUE(optimizer.named_state().empty());
    }
  }
}

TEST(OptimizerGroups, AdamWEqualsItsDefinition) {
  for (const auto& shape : kShapes) {
    const torch::Tensor w = weight(shape);
    Reference reference(w);
    OptimizerGroups optimizer({adamw({{"w", w}})}, 0);
    for (std::int64_t step = 0; step < 5; ++step) {
      const torch::Tensor g = gradient_of_step(shape, step);
      set_gradient(w, g);
      optimizer.step(step, norm_of({w}));
      reference.adamw(g, 0.01, 0.05, static_cast<double>(step + 1));
    }
    EXPECT_LT(max_difference(w.detach(), reference.weight), 2e-6) << "shape " << at::IntArrayRef(shape);
    EXPECT_LT(max_difference(optimizer.named_state().at("w.exp_avg"), reference.first), 1e-6);
    EXPECT_LT(max_difference(optimizer.named_state().at("w.exp_avg_sq"), reference.second), 1e-7);
    EXPECT_EQ(optimizer.named_state().at("w.step").item<float>(), 5);
  }
}

TEST(OptimizerGroups, MemoryOrderOfTheWeightsChangesNothing) {
  for (const bool use_sgd : {true, false}) {
    const torch::Tensor plain = weight({8, 4, 3, 3});
    const torch::Tensor last = plain.detach().contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
    const auto group = [&](const torch::Tensor& w) { return use_sgd ? sgd({{"w", w}}) : adamw({{"w", w}}); };
    OptimizerGroups a({group(plain)}, 1), b({group(last)}, 1);
    for (std::int64_t step = 0; step < 3; ++step) {
      set_gradient(plain, gradient_of_step(plain.sizes(), step));
      set_gradient(last, gradient_of_step(plain.sizes(), step));
      const torch::Tensor norm = norm_of({plain});
      a.step(step, norm);
      b.step(step, norm);
    }
    EXPECT_TRUE(last.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(last.equal(plain));
  }
}

TEST(OptimizerGroups, RefusesAGradientInAnotherMemoryOrder) {
  const torch::Tensor w = weight({8, 4, 3, 3}).detach().contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
  OptimizerGroups optimizer({sgd({{"conv.weight", w}})}, 0);
  EXPECT_THAT([&] { optimizer.step(0, kOne); }, ThrowsMessage<Error>(HasSubstr("'conv.weight' has no gradient")));
  w.mutable_grad() = at::ones({8, 4, 3, 3});
  EXPECT_THAT([&] { optimizer.step(0, kOne); },
              ThrowsMessage<Error>(HasSubstr("the gradient of 'conv.weight' has strides [36, 9, 3, 1]")));
}

TEST(Clipping, UpdatesAsIfTheGradientHadTheClipNorm) {
  for (const double scale : {0.5, 1.0, 4.0, 1000.0}) {
    const torch::Tensor a = weight({4, 4}), b = weight({5, 5}, 2);
    const torch::Tensor a2 = a.detach().clone().requires_grad_(), b2 = b.detach().clone().requires_grad_();
    OptimizerGroups clipped({sgd({{"a", a}}), adamw({{"b", b}})}, 2.0);
    OptimizerGroups plain({sgd({{"a", a2}}), adamw({{"b", b2}})}, 0);
    for (std::int64_t step = 0; step < 3; ++step) {
      torch::Tensor ga = gradient_of_step({4, 4}, step), gb = gradient_of_step({5, 5}, 50 + step);
      const double unit = std::sqrt((ga.square().sum() + gb.square().sum()).item<double>());
      set_gradient(a, ga * (scale / unit));
      set_gradient(b, gb * (scale / unit));
      clipped.step(step, norm_of({a, b}));
      set_gradient(a2, ga * (std::min(scale, 2.0) / unit));
      set_gradient(b2, gb * (std::min(scale, 2.0) / unit));
      plain.step(step, norm_of({a2, b2}));
      EXPECT_NEAR(norm_of({a, b}).item<double>(), std::min(scale, 2.0), 1e-5);  // the gradients were scaled in place
    }
    EXPECT_LT(max_difference(a.detach(), a2.detach()), 1e-6) << "norm " << scale;
    EXPECT_LT(max_difference(b.detach(), b2.detach()), 1e-6) << "norm " << scale;
  }
}

TEST(Clipping, OfZeroIsOff) {
  const torch::Tensor w = weight({2, 2});
  OptimizerGroups optimizer({sgd({{"w", w}})}, 0);
  set_gradient(w, at::full({2, 2}, 1000.0));
  optimizer.step(0, norm_of({w}));
  EXPECT_DOUBLE_EQ(norm_of({w}).item<double>(), 2000);
}

// Also the moments, the count of updates and the gradients, which find_culprit() looks for.
TEST(OptimizerGroups, ChangesNothingIfTheNormIsNotFinite) {
  for (const double clip : {0.0, 1.0}) {
    const torch::Tensor a = weight({4, 4}), b = weight({5, 5}, 2);
    OptimizerGroups optimizer({sgd({{"a", a}}), adamw({{"b", b}})}, clip);
    const auto all = [&] {
      std::vector<torch::Tensor> values = {a.detach(), b.detach(), a.grad(), b.grad()};
      for (const auto& [name, tensor] : optimizer.named_state()) values.push_back(tensor);
      for (torch::Tensor& tensor : values) tensor = tensor.clone();
      return values;
    };
    set_gradient(a, gradient_of_step({4, 4}, 0));
    set_gradient(b, gradient_of_step({5, 5}, 0));
    optimizer.step(0, norm_of({a, b}));
    for (const float bad : {NAN, INFINITY}) {
      a.grad()[1][2] = bad;
      const std::vector<torch::Tensor> before = all();
      optimizer.step(1, norm_of({a, b}));
      const std::vector<torch::Tensor> after = all();
      for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(test::same_bits(before[i], after[i])) << i;
    }
    // And a later step is the second, not the fourth.
    set_gradient(a, gradient_of_step({4, 4}, 1));
    set_gradient(b, gradient_of_step({5, 5}, 1));
    optimizer.step(3, norm_of({a, b}));
    EXPECT_EQ(optimizer.named_state().at("b.step").item<float>(), 2);
  }
}

TEST(WeightDecay, LeavesVectorsAloneUnlessTold) {
  for (const bool use_sgd : {true, false}) {
    for (const bool decay_vectors : {true, false}) {
      const torch::Tensor matrix = at::ones({2, 3}).requires_grad_(), conv = at::ones({2, 3, 1, 1}).requires_grad_();
      const torch::Tensor vector = at::ones({3}).requires_grad_();
      const NamedParameters parameters = {{"m", matrix}, {"v", vector}, {"c", conv}};
      Group group = use_sgd ? sgd(parameters, 0.1, 0.5) : adamw(parameters, 0.1, 0.5);
      group.decay_vectors = decay_vectors;
      OptimizerGroups optimizer({group}, 0);
      for (const auto& [name, w, is_vector] : parameters) set_gradient(w, at::zeros_like(w));
      optimizer.step(0, norm_of({matrix, conv, vector}));
      EXPECT_FLOAT_EQ(matrix[0][0].item<float>(), 0.95f);
      EXPECT_FLOAT_EQ(conv[0][0][0][0].item<float>(), 0.95f);
      EXPECT_FLOAT_EQ(vector[0].item<float>(), decay_vectors ? 0.95f : 1.0f);
    }
  }
}

TEST(OptimizerState, IsNamedByTheParametersAndSharesTheirStorage) {
  const torch::Tensor a = weight({2, 2}), b = weight({3}), c = weight({2, 3});
  OptimizerGroups optimizer({sgd({{"backbone.conv1.weight", a}}), adamw({{"itm.bias", b}, {"itm.weight", c}})}, 0);
  const auto state = optimizer.named_state();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state) names.push_back(name);
  EXPECT_THAT(names,
              testing::ElementsAre("backbone.conv1.weight.momentum", "itm.bias.exp_avg", "itm.bias.exp_avg_sq",
                                   "itm.bias.step", "itm.weight.exp_avg", "itm.weight.exp_avg_sq", "itm.weight.step"));
  for (const torch::Tensor& w : {a, b, c}) set_gradient(w, at::ones_like(w));
  optimizer.step(0, kOne);
  EXPECT_EQ(state.at("itm.bias.step").item<float>(), 1);
  EXPECT_NE(state.at("backbone.conv1.weight.momentum").abs().sum().item<float>(), 0);
}

TEST(OptimizerState, CopiedIntoAnotherOptimizerGivesTheSameNextStep) {
  const torch::Tensor a = weight({6, 2, 3, 3}).detach().contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
  const torch::Tensor b = weight({5});
  const auto make = [](const torch::Tensor& a, const torch::Tensor& b) {
    return OptimizerGroups({sgd({{"a", a}}), adamw({{"b", b}})}, 1.0);
  };
  const auto update = [](OptimizerGroups& optimizer, const torch::Tensor& a, const torch::Tensor& b,
                         std::int64_t step) {
    set_gradient(a, gradient_of_step(a.sizes(), step));
    set_gradient(b, gradient_of_step(b.sizes(), step));
    optimizer.step(step, norm_of({a, b}));
  };
  OptimizerGroups whole = make(a, b);
  for (std::int64_t step = 0; step < 4; ++step) update(whole, a, b, step);

  const torch::Tensor a2 = a.detach().clone().requires_grad_(), b2 = b.detach().clone().requires_grad_();
  OptimizerGroups resumed = make(a2, b2);
  for (auto& [name, tensor] : resumed.named_state())
    torch::Tensor(tensor).copy_(whole.named_state().at(name).contiguous());
  update(whole, a, b, 4);
  update(resumed, a2, b2, 4);
  EXPECT_TRUE(a2.equal(a));
  EXPECT_TRUE(b2.equal(b));
}

// The fused operators have the same bits for an element wherever a piece begins: at multiples of a vector, as cells do.
TEST(OptimizerGroups, PiecesOfAParameterGetTheBitsOfTheWhole) {
  for (const bool use_sgd : {true, false}) {
    for (const std::int64_t size : {7, 1024, 5000, 300001}) {
      for (const int threads : {1, 3}) {
        const int before = at::get_num_threads();
        at::set_num_threads(threads);
        const torch::Tensor whole = weight({size}), cut = whole.detach().clone();
        std::vector<torch::Tensor> pieces;
        for (std::int64_t begin = 0; begin < size; begin += 3072) {
          pieces.push_back(cut.slice(0, begin, std::min(begin + 3072, size)));
        }
        const auto group = [&](const torch::Tensor& w) { return use_sgd ? sgd({{"w", w}}) : adamw({{"w", w}}); };
        OptimizerGroups of_whole({group(whole)}, 1);
        std::vector<OptimizerGroups> of_pieces;
        for (const torch::Tensor& piece : pieces) of_pieces.emplace_back(std::vector<Group>{group(piece)}, 1);
        for (std::int64_t step = 0; step < 3; ++step) {
          const torch::Tensor gradient = gradient_of_step({size}, step);
          set_gradient(whole, gradient);
          const torch::Tensor norm = norm_of({whole});
          of_whole.step(step, norm);
          for (std::size_t i = 0; i < pieces.size(); ++i) {
            const auto begin = static_cast<std::int64_t>(i) * 3072;
            set_gradient(pieces[i], gradient.slice(0, begin, begin + pieces[i].numel()));
            of_pieces[i].step(step, norm);
          }
        }
        EXPECT_TRUE(cut.equal(whole)) << size << " elements, " << threads << " threads, sgd " << use_sgd;
        at::set_num_threads(before);
      }
    }
  }
}

TEST(OptimizerState, IsKnownByNameWhereAnotherRankHasTheElements) {
  OptimizerGroups optimizer({sgd({{"a", at::empty({0})}}), adamw({{"b", at::empty({0}), /*is_vector=*/false}})}, 0);
  optimizer.step(0, kOne);
  EXPECT_TRUE(optimizer.named_state().empty());
  EXPECT_THAT(optimizer.state_suffixes("a"), testing::ElementsAre(".momentum"));
  EXPECT_THAT(optimizer.state_suffixes("b"), testing::ElementsAre(".exp_avg", ".exp_avg_sq", ".step"));
  EXPECT_THAT(optimizer.state_suffixes("c"), testing::IsEmpty());
}

TEST(LearningRates, AreTheSchedulesOfTheGroups) {
  Group first = sgd({{"a", weight({2})}}), second = adamw({{"b", weight({2})}});
  first.schedule = {.base = 1, .warmup_steps = 10, .warmup_factor = 0, .drop_at_steps = {}};
  second.schedule = {.base = 0.5, .warmup_steps = 0, .drop_at_steps = {5}};
  const OptimizerGroups optimizer({first, second}, 0);
  EXPECT_EQ(optimizer.learning_rates(5), (std::map<std::string, double>{{"backbone", 0.5}, {"transformer", 0.05}}));
}

}  // namespace
}  // namespace pixelbert::optim
