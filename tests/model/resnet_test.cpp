#include "model/resnet.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "core/check.h"
#include "model/layers.h"
#include "tests/support/tensor_matchers.h"

namespace pixelbert::model {
namespace {

using test::max_difference;
using ::testing::HasSubstr;
using ::testing::Throws;

torch::Tensor buffer(const ResNet& resnet, const std::string& name) {
  return resnet->named_buffers()[name];
}

std::vector<std::string> trained_names(const ResNet& resnet) {
  std::vector<std::string> names;
  for (const auto& item : resnet->named_parameters()) {
    if (item.value().requires_grad()) names.push_back(item.key());
  }
  return names;
}

bool any_starts_with(const std::vector<std::string>& names, const std::string& prefix) {
  return std::any_of(names.begin(), names.end(), [&](const auto& name) { return name.starts_with(prefix); });
}

TEST(ResNet, RefusesAnUnknownBackboneAndNamesTheKnownOnes) {
  EXPECT_THAT([] { resnet_shape("resnet51"); },
              Throws<UsageError>(testing::Property(&UsageError::what, HasSubstr("no backbone 'resnet51'"))));
  EXPECT_THAT([] { resnet_shape("resnet51"); },
              Throws<UsageError>(testing::Property(&UsageError::what, HasSubstr("resnext152-32x4d"))));
}

TEST(ResNet, OutputHasTheGridThatArithmeticPredicts) {
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  ResNet resnet("resnet18", NormMode::Local, 0);
  resnet->eval();
  for (const std::int64_t height : {1, 31, 32, 33, 64, 97}) {
    for (const std::int64_t width : {1, 32, 65, 130}) {
      const torch::Tensor features = resnet->forward(at::randn({1, 3, height, width}));
      const Grid grid = backbone_grid({height, width});
      EXPECT_EQ(features.sizes(), (torch::IntArrayRef{1, 512, grid.height, grid.width})) << height << "x" << width;
    }
  }
}

TEST(ResNet, FlopsOfResNet50AreTheKnownFigure) {
  // 4.09 G multiply-adds at 224x224 with the classifier (torchvision's documentation), which has 2.05 M.
  EXPECT_NEAR(resnet_flops(resnet_shape("resnet50"), {224, 224}) / 2, 4.087e9, 0.01e9);
  EXPECT_NEAR(resnet_flops(resnet_shape("resnext50-32x4d"), {224, 224}) / 2, 4.23e9, 0.03e9);
}

TEST(ResNet, TrainsOnlyTheStagesBehindTheFrozenOnes) {
  const std::vector<std::string> stages = {"conv1", "layer1", "layer2", "layer3", "layer4"};
  for (std::int64_t frozen = 0; frozen <= 5; ++frozen) {
    ResNet resnet("resnet18", NormMode::Local, frozen);
    const torch::Tensor features = resnet->forward(at::randn({2, 3, 64, 64}));
    EXPECT_EQ(features.requires_grad(), frozen < 5);
    if (frozen < 5) features.sum().backward();
    for (std::int64_t stage = 0; stage < 5; ++stage) {
      EXPECT_EQ(any_starts_with(trained_names(resnet), stages[static_cast<std::size_t>(stage)]), stage >= frozen);
    }
    for (const auto& item : resnet->named_parameters()) {
      EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad()) << item.key() << " at " << frozen;
    }
  }
}

TEST(ResNet, FrozenBatchNormIsNeitherTrainedNorUpdated) {
  ResNet resnet("resnet18", NormMode::Frozen, 0);
  EXPECT_FALSE(any_starts_with(trained_names(resnet), "bn1"));
  EXPECT_TRUE(any_starts_with(trained_names(resnet), "conv1"));
  resnet->forward(at::randn({2, 3, 64, 64}));
  EXPECT_EQ(resnet->take_batch_statistics().numel(), 0);
  EXPECT_TRUE(buffer(resnet, "bn1.running_mean").equal(at::zeros({64})));
}

TEST(ResNet, RunningStatisticsDoNotDependOnHowMicroBatchesAreDealtToRanks) {
  at::manual_seed(2);
  std::vector<torch::Tensor> micro_batches;
  for (int i = 0; i < 6; ++i) micro_batches.push_back(at::randn({2, 3, 64, 64}));

  std::vector<torch::Tensor> updated;
  for (const int ranks : {1, 2, 3, 4, 8}) {  // with 4 some get one, some two; with 8 some get none
    torch::Tensor summed;
    ResNet resnet{nullptr};
    for (int rank = 0; rank < ranks; ++rank) {
      at::manual_seed(3);
      resnet = ResNet("resnet18", NormMode::Local, 1);
      for (int i = rank * 6 / ranks; i < (rank + 1) * 6 / ranks; ++i) resnet->forward(micro_batches[i]);
      const torch::Tensor mine = resnet->take_batch_statistics();
      summed = summed.defined() ? summed + mine : mine;
    }
    EXPECT_EQ(summed[-1].item<float>(), 6);
    resnet->update_running_statistics(summed, at::ones({}, at::kBool));
    updated.push_back(
        at::cat({buffer(resnet, "layer1.0.bn1.running_mean"), buffer(resnet, "layer4.1.bn2.running_var")}));
    EXPECT_EQ(buffer(resnet, "layer1.0.bn1.num_batches_tracked").item<std::int64_t>(), 1);
    EXPECT_EQ(buffer(resnet, "bn1.num_batches_tracked").item<std::int64_t>(), 0) << "the stem is frozen";
  }
  for (const torch::Tensor& statistics : updated) EXPECT_LT(max_difference(statistics, updated[0]), 1e-6);
}

TEST(ResNet, HandsOutTheStatisticsOfEachStepOnce) {
  ResNet resnet("resnet18", NormMode::Local, 0);
  const auto length = resnet->take_batch_statistics().numel();
  EXPECT_GT(length, 1) << "a rank without a micro-batch takes part in the sum";
  resnet->forward(at::randn({2, 3, 64, 64}));
  const torch::Tensor first = resnet->take_batch_statistics();
  EXPECT_EQ(first.numel(), length);
  EXPECT_EQ(first[-1].item<float>(), 1);
  EXPECT_EQ(resnet->take_batch_statistics().abs().sum().item<float>(), 0);
}

TEST(ResNet, ForgetsTheStatisticsOfABatchThatWasNotFinite) {
  ResNet resnet("resnet18", NormMode::Local, 0);
  resnet->forward(at::full({2, 3, 64, 64}, NAN));
  EXPECT_FALSE(resnet->take_batch_statistics().isfinite().all().item<bool>());
  resnet->forward(at::randn({2, 3, 64, 64}));
  EXPECT_TRUE(resnet->take_batch_statistics().isfinite().all().item<bool>());
}

TEST(ResNet, TwoForwardsBeforeTheirBackwardsGiveTheSumOfGradients) {
  at::manual_seed(4);
  ResNet resnet("resnet18", NormMode::Local, 0);
  const torch::Tensor a = at::randn({2, 3, 64, 64}), b = at::randn({2, 3, 64, 64});
  const torch::Tensor weight = resnet->named_parameters()["layer1.0.conv1.weight"];
  const auto gradient = [&] { return std::exchange(weight.mutable_grad(), {}); };
  resnet->forward(a).square().sum().backward();
  resnet->forward(b).square().sum().backward();
  const torch::Tensor expected = gradient();
  const torch::Tensor both = resnet->forward(a).square().sum() + resnet->forward(b).square().sum();
  both.backward();
  EXPECT_LT(test::relative_difference(gradient(), expected), 1e-5);
}

TEST(ResNet, EvaluationUsesRunningStatisticsAndGathersNone) {
  at::manual_seed(5);
  ResNet resnet("resnet18", NormMode::Local, 0);
  resnet->eval();
  const at::NoGradGuard no_grad;
  const torch::Tensor images = at::randn({2, 3, 64, 64});
  const torch::Tensor together = resnet->forward(images);
  const torch::Tensor alone = resnet->forward(images.narrow(0, 1, 1));
  EXPECT_LT(test::relative_difference(together.narrow(0, 1, 1), alone), 1e-5);
  EXPECT_EQ(resnet->take_batch_statistics().abs().sum().item<float>(), 0);
}

// At the end of an epoch a micro-batch may have one pair.
TEST(ResNet, LocalBatchNormUsesRunningStatisticsForOneValuePerChannel) {
  at::manual_seed(8);
  ResNet resnet("resnet18", NormMode::Local, 0);
  resnet->forward(at::randn({4, 3, 20, 20}));
  resnet->update_running_statistics(resnet->take_batch_statistics(), at::ones({}, at::kBool));
  const std::vector<std::string> names = {"bn1.running_mean", "layer4.1.bn2.running_mean", "layer4.1.bn2.running_var"};
  std::vector<torch::Tensor> before;
  for (const std::string& name : names) before.push_back(buffer(resnet, name).clone());

  const torch::Tensor features = resnet->forward(at::randn({1, 3, 20, 20}));
  EXPECT_EQ(features.sizes(), (torch::IntArrayRef{1, 512, 1, 1}));
  EXPECT_TRUE(features.isfinite().all().item<bool>());
  features.square().sum().backward();
  for (const char* name : {"conv1.weight", "layer4.1.conv2.weight", "layer4.1.bn2.weight"}) {
    const torch::Tensor gradient = resnet->named_parameters()[name].grad();
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << name;
    EXPECT_GT(gradient.abs().sum().item<float>(), 0) << name;
  }

  const torch::Tensor statistics = resnet->take_batch_statistics();
  EXPECT_TRUE(statistics.isfinite().all().item<bool>());
  resnet->update_running_statistics(statistics, at::ones({}, at::kBool));
  EXPECT_GT(max_difference(buffer(resnet, names[0]), before[0]), 1e-4) << "of 10 x 10 values";
  EXPECT_LT(max_difference(buffer(resnet, names[1]), before[1]), 1e-6) << "of one value";
  EXPECT_LT(max_difference(buffer(resnet, names[2]), before[2]), 1e-6) << "of one value";
}

TEST(ResNet, RunningStatisticsKeepTheirBitsInAStepThatIsLeftOut) {
  at::manual_seed(9);
  ResNet resnet("resnet18", NormMode::Local, 0);
  const auto all = [&] {
    std::vector<torch::Tensor> buffers;
    for (const torch::Tensor& values : resnet->buffers()) buffers.push_back(values.clone());
    return buffers;
  };
  resnet->forward(at::randn({4, 3, 64, 64}));
  resnet->update_running_statistics(resnet->take_batch_statistics(), at::ones({}, at::kBool));
  const std::vector<torch::Tensor> before = all();
  for (const double factor : {1.0, double{NAN}, double{INFINITY}}) {
    resnet->forward(at::randn({4, 3, 64, 64}) * factor);
    resnet->update_running_statistics(resnet->take_batch_statistics(), at::zeros({}, at::kBool));
    const std::vector<torch::Tensor> after = all();
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(after[i].equal(before[i])) << factor;
  }
}

TEST(ResNet, ChannelsLastChangesTheOrderOfWeightsAndNotTheResult) {
  at::manual_seed(6);
  ResNet resnet("resnet18", NormMode::Frozen, 0);
  const at::NoGradGuard no_grad;
  const torch::Tensor images = at::randn({2, 3, 64, 64});
  const torch::Tensor before = resnet->forward(images);
  use_channels_last(*resnet);
  EXPECT_TRUE(resnet->named_parameters()["layer1.0.conv1.weight"].is_contiguous(at::MemoryFormat::ChannelsLast));
  const torch::Tensor after = resnet->forward(images.contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(after.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(test::relative_difference(after, before), 1e-5);
}

TEST(ResNet, WeightsAreAFunctionOfTheSeed) {
  const auto weights = [](std::uint64_t seed) {
    at::manual_seed(seed);
    return ResNet("resnet18", NormMode::Local, 0)->parameters().front();
  };
  EXPECT_TRUE(weights(1).equal(weights(1)));
  EXPECT_FALSE(weights(1).equal(weights(2)));
}

}  // namespace
}  // namespace pixelbert::model
