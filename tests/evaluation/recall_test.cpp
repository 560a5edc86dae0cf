#include "evaluation/recall.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <span>

#include "comm/solo_communicator.h"
#include "core/check.h"

namespace pixelbert::evaluation {
namespace {

std::span<const float> row(const torch::Tensor& scores, std::int64_t image) {
  return {scores.const_data_ptr<float>() + image * scores.size(1), static_cast<std::size_t>(scores.size(1))};
}

std::span<const std::int64_t> numbers(const torch::Tensor& tensor) {
  return {tensor.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(tensor.numel())};
}

Metrics recalls(const torch::Tensor& scores, const torch::Tensor& image_of_text) {
  Recall recall(scores.size(0), numbers(image_of_text));
  for (std::int64_t image = scores.size(0); image-- > 0;) recall.add(image, row(scores, image));
  comm::SoloCommunicator solo;
  return recall.figures(solo);
}

TEST(Recall, AHitIsAnOwnTextOrTheOwnImageAmongTheBest) {
  // Image 0 has texts 0 and 1, image 1 has text 2.
  const torch::Tensor scores = at::tensor({0.1f, 0.9f, 0.5f,  //
                                           0.2f, 0.3f, 0.4f})
                                   .view({2, 3});
  const Metrics metrics = recalls(scores, at::tensor({0, 0, 1}, at::kLong));
  EXPECT_EQ(metrics.at("tr_r1"), 1.0);      // text 1 is image 0's best, text 2 image 1's
  EXPECT_EQ(metrics.at("ir_r1"), 1.0 / 3);  // text 0 prefers image 1, text 2 prefers image 0
  EXPECT_EQ(metrics.at("ir_r5"), 1.0);
  EXPECT_FALSE(metrics.contains("tr_r1_1k"));
}

TEST(Recall, RefusesScoresThatAreNotFinite) {
  Recall recall(1, std::vector<std::int64_t>{0, 0});
  const std::vector<float> scores = {0, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THAT([&] { recall.add(0, scores); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("the scores of image 0 are not finite")));
}

TEST(Recall, OfEqualScoresTheEarlierIsBetter) {
  const Metrics metrics = recalls(at::zeros({4, 4}), at::arange(4));
  EXPECT_EQ(metrics.at("tr_r1"), 0.25);
  EXPECT_EQ(metrics.at("ir_r1"), 0.25);
}

// Computes the same by sorting whole rows and columns.
Metrics by_sorting(const torch::Tensor& scores, const torch::Tensor& image_of_text) {
  Metrics metrics;
  const std::int64_t images = scores.size(0), texts = scores.size(1);
  for (const std::int64_t k : {1, 5, 10}) {
    double tr = 0, ir = 0;
    const torch::Tensor best_texts = scores.argsort(true, 1, true).narrow(1, 0, k);
    const torch::Tensor best_images = scores.argsort(true, 0, true).narrow(0, 0, k);
    for (std::int64_t i = 0; i < images; ++i) tr += image_of_text.index({best_texts[i]}).eq(i).any().item<bool>();
    for (std::int64_t t = 0; t < texts; ++t) ir += best_images.select(1, t).eq(image_of_text[t]).any().item<bool>();
    metrics["tr_r" + std::to_string(k)] = tr / static_cast<double>(images);
    metrics["ir_r" + std::to_string(k)] = ir / static_cast<double>(texts);
  }
  return metrics;
}

TEST(Recall, EqualsSortingOnRandomMatrices) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    at::manual_seed(seed);
    const torch::Tensor image_of_text = std::get<0>(at::randint(0, 20, {60}, at::kLong).sort());
    const torch::Tensor scores = at::randint(0, 30, {20, 60}).to(at::kFloat);  // with many ties
    const Metrics expected = by_sorting(scores, image_of_text), found = recalls(scores, image_of_text);
    for (const auto& [name, value] : expected) EXPECT_DOUBLE_EQ(found.at(name), value) << name;
  }
}

TEST(Recall, OneThousandIsTheMeanOfSequentialFolds) {
  at::manual_seed(7);
  const std::int64_t images = 2500;  // two whole folds
  const torch::Tensor image_of_text = at::arange(images).repeat_interleave(2);
  torch::Tensor scores = at::randn({images, 2 * images});
  for (std::int64_t i = 0; i < images; ++i) scores[i][2 * i] += 3;
  const Metrics metrics = recalls(scores, image_of_text);
  Metrics mean;
  for (std::int64_t fold = 0; fold < 2; ++fold) {
    const torch::Tensor part = scores.narrow(0, 1000 * fold, 1000).narrow(1, 2000 * fold, 2000).contiguous();
    for (const auto& [name, value] : recalls(part, at::arange(1000).repeat_interleave(2))) mean[name] += value / 2;
  }
  for (const auto& [name, value] : mean) EXPECT_DOUBLE_EQ(metrics.at(name + "_1k"), value) << name;
  EXPECT_GT(metrics.at("tr_r1_1k"), metrics.at("tr_r1"));
}

}  // namespace
}  // namespace pixelbert::evaluation
