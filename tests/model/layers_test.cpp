#include "model/layers.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>

#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

using ::testing::ElementsAre;

TEST(Dropout, DropsItsShareAndScalesTheRestSoThatTheMeanStays) {
  at::manual_seed(1);
  constexpr std::int64_t kElements = 100003;  // not a multiple of the four that share a random number
  for (const double probability : {0.1, 0.5, 0.9}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const torch::Tensor x = at::ones({kElements}, type).requires_grad_();
      const torch::Tensor y = Dropout{probability}(x, /*training=*/true);
      ASSERT_EQ(y.scalar_type(), type);
      const torch::Tensor dropped = y.eq(0);
      const double deviation = std::sqrt(probability * (1 - probability) / kElements);
      EXPECT_NEAR(dropped.to(at::kDouble).mean().item<double>(), probability, 5 * deviation);
      const torch::Tensor kept = y.detach().masked_select(dropped.logical_not()).to(at::kDouble);
      EXPECT_LT(test::max_difference(kept * (1 - probability), at::ones_like(kept)), type == at::kFloat ? 1e-4 : 1e-2);

      y.sum().backward();
      EXPECT_TRUE(x.grad().equal(y)) << "the gradient is the mask";
    }
  }
}

TEST(Dropout, NeighboursAreDroppedIndependently) {
  at::manual_seed(2);
  constexpr std::int64_t kGroups = 100000;
  const torch::Tensor dropped = Dropout{0.5}(at::ones({kGroups, 4}), true).eq(0).to(at::kDouble);
  const torch::Tensor both =
      dropped.t().mm(dropped) / kGroups;  // [4, 4]: how often two of the four are dropped together
  EXPECT_LT(test::max_difference(both, 0.25 + 0.25 * at::eye(4)), 5 * std::sqrt(0.25 * 0.75 / kGroups));
}

TEST(Dropout, DoesNothingInEvaluationOrWithProbabilityZero) {
  const torch::Tensor x = at::rand({3, 5});
  EXPECT_TRUE(Dropout{0.5}(x, false).is_same(x));
  EXPECT_TRUE(Dropout{0}(x, true).is_same(x));
}

TEST(NamedGroup, SharesTheLevelsThatAreThere) {
  torch::nn::Module parent;
  const Linear first(parent, "attention.self.query", 2, 3), second(parent, "attention.self.key", 2, 3);
  EXPECT_THAT(parent.named_parameters().keys(), ElementsAre("attention.self.query.weight", "attention.self.query.bias",
                                                            "attention.self.key.weight", "attention.self.key.bias"));
  EXPECT_TRUE(parent.named_parameters()["attention.self.key.weight"].is_same(second.weight));
}

}  // namespace
}  // namespace pixelbert::model
