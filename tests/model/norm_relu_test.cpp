#include "model/norm_relu.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "core/check.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

using test::max_difference;

constexpr double kEpsilon = 1e-5;
constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// The result, the statistics and the gradients.
using Results = std::vector<torch::Tensor>;
const std::vector<std::string> kNames = {"y", "mean", "variance", "to_x", "to_weight", "to_bias", "to_residual"};

struct Inputs {
  Inputs(at::ScalarType type, at::IntArrayRef sizes, bool with_residual, double shift = 0) {
    const auto values = [&] { return at::randn(sizes).to(type).contiguous(kChannelsLast); };
    x = (at::randn(sizes) + shift).to(type).contiguous(kChannelsLast);
    dy = values();
    weight = at::rand({sizes[1]}) + 0.5;
    bias = at::randn({sizes[1]});
    if (with_residual) residual = values();
  }

  torch::Tensor x, dy, weight, bias;
  std::optional<torch::Tensor> residual;
};

torch::Tensor leaf(const torch::Tensor& x, at::ScalarType type) {
  return x.detach().to(type, /*non_blocking=*/false, /*copy=*/true).requires_grad_();
}

template <class Operation>
Results results(const Inputs& inputs, at::ScalarType type, at::ScalarType statistics, const Operation& operation) {
  const torch::Tensor x = leaf(inputs.x, type);
  const torch::Tensor weight = leaf(inputs.weight, statistics), bias = leaf(inputs.bias, statistics);
  const torch::Tensor mean = at::zeros({x.size(1)}, statistics), variance = at::zeros({x.size(1)}, statistics);
  std::optional<torch::Tensor> residual;
  if (inputs.residual) residual = leaf(*inputs.residual, type);
  const torch::Tensor y = operation(x, weight, bias, residual, mean, variance);
  y.backward(inputs.dy.to(type));
  Results all = {y.detach(), mean, variance, x.grad(), weight.grad(), bias.grad()};
  if (residual) all.push_back(residual->grad());
  return all;
}

Results fused(const Inputs& inputs) {
  return results(inputs, inputs.x.scalar_type(), at::kFloat,
                 [](const auto& x, const auto& weight, const auto& bias, const auto& residual, const auto& mean,
                    const auto& variance) { return *norm_relu(x, weight, bias, residual, mean, variance, kEpsilon); });
}

Results by_libtorch(const Inputs& inputs, at::ScalarType type, at::ScalarType statistics) {
  return results(inputs, type, statistics,
                 [](const auto& x, const auto& weight, const auto& bias, const auto& residual, const auto& mean,
                    const auto& variance) {
                   torch::Tensor y = at::batch_norm(x, weight, bias, mean, variance, /*training=*/true,
                                                    /*momentum=*/1.0, kEpsilon, /*cudnn_enabled=*/true);
                   if (residual) y.add_(*residual);
                   return y.relu_();
                 });
}

void expect_same_bits(const Results& a, const Results& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << kNames[i];
}

TEST(NormRelu, IsAsAccurateAsLibTorchsOperators) {
  at::manual_seed(1);
  for (const auto& [images, height, width] : std::vector<std::array<std::int64_t, 3>>{
           {2, 1, 1}, {1, 3, 1}, {7, 3, 3}, {1, 8, 8}, {5, 1, 13}, {10, 10, 10}, {3, 40, 41}}) {
    for (const std::int64_t channels : {1, 3, 8, 64, 100}) {
      for (const bool with_residual : {false, true}) {
        for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
          const Inputs inputs(type, {images, channels, height, width}, with_residual);
          const Results ours = fused(inputs), theirs = by_libtorch(inputs, type, at::kFloat);
          const Results exact = by_libtorch(inputs, at::kDouble, at::kDouble);
          for (std::size_t i = 0; i < ours.size(); ++i) {
            SCOPED_TRACE(fmt::format("{} of [{}, {}, {}, {}], {}, residual: {}", kNames[i], images, channels, height,
                                     width, toString(type), with_residual));
            EXPECT_EQ(ours[i].scalar_type(), theirs[i].scalar_type());
            EXPECT_EQ(ours[i].sizes(), theirs[i].sizes());
            // What one rounding of the largest value may change is no difference. Of one channel LibTorch takes sums in
            // double.
            const double of_float = channels > 1 ? 0x1p-22 : 0x1p-16;
            const double rounding = type == at::kFloat || ours[i].dim() == 1 ? of_float : 0x1p-8;
            const double largest = std::max(1.0, exact[i].abs().max().item<double>());
            EXPECT_LE(max_difference(ours[i], exact[i]), 2 * max_difference(theirs[i], exact[i]) + rounding * largest);
          }
        }
      }
    }
  }
}

TEST(NormRelu, StatisticsStayAccurateFarFromZero) {
  at::manual_seed(2);
  for (const double shift : {0.0, 30.0, 1000.0}) {
    const Inputs inputs(at::kFloat, {8, 64, 48, 48}, /*with_residual=*/false, shift);
    const Results ours = fused(inputs), theirs = by_libtorch(inputs, at::kFloat, at::kFloat);
    const torch::Tensor x = inputs.x.to(at::kDouble);
    const torch::Tensor mean = x.mean({0, 2, 3}), variance = x.var(at::IntArrayRef{0, 2, 3}, /*unbiased=*/true);
    EXPECT_LE(max_difference(ours[1], mean), 2 * max_difference(theirs[1], mean) + 1e-12) << shift;
    EXPECT_LE(max_difference(ours[2], variance), 2 * max_difference(theirs[2], variance) + 1e-12) << shift;
  }
}

TEST(NormRelu, BitsDoNotDependOnTheNumberOfThreads) {
  at::manual_seed(3);
  const int before = at::get_num_threads();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool with_residual : {false, true}) {
      const Inputs inputs(type, {5, 100, 31, 33}, with_residual);
      at::set_num_threads(1);
      const Results alone = fused(inputs);
      at::set_num_threads(3);
      expect_same_bits(fused(inputs), alone);
    }
  }
  at::set_num_threads(before);
}

TEST(NormRelu, NaNStaysNaN) {
  at::manual_seed(4);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Inputs inputs(type, {2, 9, 4, 4}, /*with_residual=*/true);
    (*inputs.residual)[0][3][1][1] = NAN;
    EXPECT_EQ(fused(inputs)[0].isnan().sum().item<std::int64_t>(), 1);
    inputs.x[1][5][0][0] = NAN;
    const Results all = fused(inputs);
    EXPECT_EQ(all[0].isnan().sum().item<std::int64_t>(), 1 + 2 * 4 * 4);
    for (const std::size_t statistic : {1, 2}) EXPECT_TRUE(all[statistic][5].isnan().item<bool>());
    for (const std::size_t gradient : {3, 4}) EXPECT_TRUE(all[gradient].isnan().any().item<bool>());
    inputs.residual.reset();
    EXPECT_EQ(fused(inputs)[0].isnan().sum().item<std::int64_t>(), 2 * 4 * 4);
  }
}

TEST(NormRelu, TakesGradientsAndResidualsInAnyMemoryFormat) {
  at::manual_seed(5);
  for (const bool with_residual : {false, true}) {
    Inputs inputs(at::kFloat, {3, 8, 5, 7}, with_residual);
    const Results expected = fused(inputs);
    inputs.dy = inputs.dy.contiguous();
    if (with_residual) inputs.residual = inputs.residual->contiguous();
    expect_same_bits(fused(inputs), expected);

    inputs.dy = at::ones({1, 8, 1, 1}).expand({3, 8, 5, 7});
    const Results expanded = fused(inputs);
    inputs.dy = at::ones({3, 8, 5, 7}).contiguous(kChannelsLast);
    expect_same_bits(expanded, fused(inputs));
  }
}

TEST(NormRelu, GivesGradientsOnlyWhereTheyAreNeeded) {
  at::manual_seed(6);
  const Inputs inputs(at::kFloat, {3, 8, 5, 7}, /*with_residual=*/true);
  const Results expected = fused(inputs);
  const torch::Tensor weight = leaf(inputs.weight, at::kFloat), mean = at::zeros({8}), variance = at::zeros({8});
  const torch::Tensor y = *norm_relu(inputs.x, weight, inputs.bias, inputs.residual, mean, variance, kEpsilon);
  y.backward(inputs.dy);
  EXPECT_TRUE(weight.grad().equal(expected[4]));
  EXPECT_FALSE(inputs.x.grad().defined());
  EXPECT_FALSE(inputs.residual->grad().defined());

  const at::NoGradGuard no_grad;
  EXPECT_FALSE(norm_relu(inputs.x, weight, inputs.bias, {}, mean, variance, kEpsilon)->requires_grad());
}

TEST(NormRelu, RoundsAResidualOfAnotherType) {
  at::manual_seed(7);
  Inputs inputs(at::kBFloat16, {3, 8, 5, 7}, /*with_residual=*/true);
  const auto result = [&] {
    return *norm_relu(inputs.x, inputs.weight, inputs.bias, inputs.residual, at::zeros({8}), at::zeros({8}), kEpsilon);
  };
  const torch::Tensor expected = result();
  inputs.residual = inputs.residual->to(at::kFloat);
  EXPECT_TRUE(result().equal(expected));
}

TEST(NormRelu, LeavesOtherTypesAndMemoryFormatsToLibTorch) {
  const auto runs = [](const torch::Tensor& x, at::ScalarType type = at::kFloat) {
    const torch::Tensor values = at::ones({x.size(1)}, type);
    return norm_relu(x, values, values, {}, values.clone(), values.clone(), kEpsilon).has_value();
  };
  const torch::Tensor x = at::randn({2, 3, 4, 5});
  EXPECT_TRUE(runs(x.contiguous(kChannelsLast)));
  EXPECT_FALSE(runs(x));
  EXPECT_FALSE(runs(x.to(at::kHalf).contiguous(kChannelsLast)));
  EXPECT_FALSE(runs(x.to(at::kDouble).contiguous(kChannelsLast), at::kDouble));
}

TEST(NormRelu, RefusesWhatItCannotNormalise) {
  const torch::Tensor values = at::ones({3});
  const torch::Tensor x = at::randn({2, 3, 4, 5}).contiguous(kChannelsLast);
  EXPECT_THROW(norm_relu(at::randn({1, 3, 1, 1}), values, values, {}, values, values, kEpsilon), Error);
  EXPECT_THROW(norm_relu(x, values, values, at::randn({2, 3, 4, 1}), values, values, kEpsilon), Error);
}

}  // namespace
}  // namespace pixelbert::model
