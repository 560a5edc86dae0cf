#include "evaluation/recall.h"

#include <algorithm>
#include <vector>

#include "core/check.h"

namespace pixelbert::evaluation {
namespace {

constexpr std::int64_t kFold = 1000;
constexpr std::int64_t kCutoffs[] = {1, 5, 10};

// How many of `count` values, `stride` apart, are better than the one at `index`.
std::int64_t rank_of(std::int64_t index, const float* values, std::int64_t stride, std::int64_t count) {
  const float own = values[index * stride];
  std::int64_t better = 0;
  for (std::int64_t i = 0; i < index; ++i) better += values[i * stride] >= own;
  for (std::int64_t i = index + 1; i < count; ++i) better += values[i * stride] > own;
  return better;
}

void add_recalls(const char* direction, const std::vector<std::int64_t>& ranks, Metrics& metrics) {
  for (const std::int64_t k : kCutoffs) {
    const auto hits = std::ranges::count_if(ranks, [&](std::int64_t rank) { return rank < k; });
    metrics[fmt::format("{}_r{}", direction, k)] = static_cast<double>(hits) / static_cast<double>(ranks.size());
  }
}

Metrics recalls_of_part(const torch::Tensor& scores, const std::int64_t* image_of_text) {
  const std::int64_t images = scores.size(0), texts = scores.size(1), row = scores.stride(0);
  const float* values = scores.const_data_ptr<float>();
  std::vector<std::int64_t> image_ranks(static_cast<std::size_t>(images), texts);  // of the best own text
  std::vector<std::int64_t> text_ranks;
  for (std::int64_t text = 0; text < texts; ++text) {
    const std::int64_t image = image_of_text[text];
    std::int64_t& best = image_ranks[static_cast<std::size_t>(image)];
    best = std::min(best, rank_of(text, values + image * row, 1, texts));
    text_ranks.push_back(rank_of(image, values + text, row, images));
  }
  Metrics metrics;
  add_recalls("tr", image_ranks, metrics);
  add_recalls("ir", text_ranks, metrics);
  return metrics;
}

}  // namespace

Metrics recalls(const torch::Tensor& scores, const torch::Tensor& image_of_text) {
  const std::int64_t images = scores.size(0);
  const auto* of_text = image_of_text.const_data_ptr<std::int64_t>();
  const auto* end = of_text + image_of_text.numel();
  PB_CHECK(scores.size(1) == image_of_text.numel() && std::is_sorted(of_text, end),
           "expected the image of each of {} texts in order, found {}", scores.size(1), image_of_text.numel());
  Metrics metrics = recalls_of_part(scores, of_text);
  const std::int64_t folds = images / kFold;
  if (folds < 2) return metrics;

  Metrics means;
  for (std::int64_t fold = 0; fold < folds; ++fold) {
    const std::int64_t first_image = fold * kFold;
    const std::int64_t first = std::lower_bound(of_text, end, first_image) - of_text;
    const std::int64_t last = std::lower_bound(of_text, end, first_image + kFold) - of_text;
    const torch::Tensor part = scores.narrow(0, first_image, kFold).narrow(1, first, last - first);
    const torch::Tensor images_of_part = image_of_text.narrow(0, first, last - first) - first_image;
    for (const auto& [name, value] : recalls_of_part(part, images_of_part.const_data_ptr<std::int64_t>())) {
      means[name + "_1k"] += value / static_cast<double>(folds);
    }
  }
  metrics.merge(means);
  return metrics;
}

}  // namespace pixelbert::evaluation
