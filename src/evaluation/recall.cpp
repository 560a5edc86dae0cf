#include "evaluation/recall.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "core/check.h"
#include "core/log.h"

namespace pixelbert::evaluation {
namespace {

constexpr std::int64_t kFold = 1000;
constexpr std::int64_t kCutoffs[] = {1, 5, 10};
constexpr std::size_t kKept = 10;  // the last cutoff

// Counts the values that are better than the one at `index`.
std::int64_t rank_of(std::ptrdiff_t index, std::span<const float> values) {
  const auto own = values.begin() + index;
  return std::count_if(values.begin(), own, [&](float value) { return value >= *own; }) +
         std::count_if(own + 1, values.end(), [&](float value) { return value > *own; });
}

// Each element is one rank's, or a sum over the ranks.
torch::Tensor summed(torch::Tensor values, comm::Communicator& control) {
  control.all_reduce(values, comm::ReduceOp::Sum)->wait();
  return values;
}

void add_recalls(const char* direction, const torch::Tensor& ranks, Metrics& metrics) {
  for (const std::int64_t k : kCutoffs) {
    metrics[fmt::format("{}_r{}", direction, k)] =
        static_cast<double>(ranks.lt(k).sum().item<std::int64_t>()) / static_cast<double>(ranks.numel());
  }
}

}  // namespace

bool Recall::Candidate::is_better_than(const Candidate& other) const {
  return score > other.score || (score == other.score && image < other.image);
}

void Recall::Part::add(std::int64_t image, std::span<const float> scores) {
  std::ptrdiff_t best_own = -1;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Text& text = texts[i];
    const Candidate candidate{scores[i], image};
    if (text.image == image) {
      text.own = candidate.score;
      if (best_own < 0 || candidate.score > scores[best_own]) {
        best_own = static_cast<std::ptrdiff_t>(i);
      }
    }
    const bool full = text.best.size() == kKept;
    if (full && !candidate.is_better_than(text.best.back())) continue;
    if (full) text.best.pop_back();
    text.best.insert(std::ranges::upper_bound(text.best, candidate, &Candidate::is_better_than), candidate);
  }
  image_ranks[image - first_image] = best_own < 0 ? std::ssize(texts) : rank_of(best_own, scores);
}

Metrics Recall::Part::figures(comm::Communicator& control) const {
  const auto count = std::ssize(texts);
  const torch::Tensor own = at::zeros({count}), better = at::zeros({count}, at::kLong);
  const torch::Tensor ranks_of_images = at::zeros({std::ssize(image_ranks)}, at::kLong);
  std::ranges::copy(image_ranks, ranks_of_images.data_ptr<std::int64_t>());
  std::ranges::transform(texts, own.data_ptr<float>(), &Text::own);
  summed(own, control);
  // If the own image is not among the best that are kept here, those ten are better: a miss at any cutoff.
  for (std::int64_t i = 0; i < count; ++i) {
    const Text& text = texts[i];
    const Candidate candidate{own.const_data_ptr<float>()[i], text.image};
    better.data_ptr<std::int64_t>()[i] =
        std::ranges::count_if(text.best, [&](const Candidate& other) { return other.is_better_than(candidate); });
  }
  Metrics metrics;
  add_recalls("tr", summed(ranks_of_images, control), metrics);
  add_recalls("ir", summed(better, control), metrics);
  return metrics;
}

Recall::Part Recall::part_of(std::span<const std::int64_t> image_of_text, std::int64_t first_image,
                             std::int64_t images) {
  const auto first = std::ranges::lower_bound(image_of_text, first_image);
  const auto last = std::ranges::lower_bound(image_of_text, first_image + images);
  Part part{
      first_image, first - image_of_text.begin(), std::vector<std::int64_t>(static_cast<std::size_t>(images)), {}};
  for (auto image = first; image != last; ++image) part.texts.push_back({.image = *image, .best = {}});
  return part;
}

Recall::Recall(std::int64_t images, std::span<const std::int64_t> image_of_text) {
  PB_CHECK(std::ranges::is_sorted(image_of_text) && (image_of_text.empty() || image_of_text.back() < images),
           "expected the image of each of {} texts in order, below {}", image_of_text.size(), images);
  parts_.push_back(part_of(image_of_text, 0, images));
  const std::int64_t folds = images / kFold;
  for (std::int64_t fold = 0; folds >= 2 && fold < folds; ++fold) {
    parts_.push_back(part_of(image_of_text, fold * kFold, kFold));
  }
}

void Recall::add(std::int64_t image, std::span<const float> scores) {
  // Comparisons with NaN are false, so nothing would be better than it.
  PB_CHECK(std::ranges::all_of(scores, [](float score) { return std::isfinite(score); }),
           "the scores of image {} are not finite: the weights are damaged, or too large for this precision", image);
  for (Part& part : parts_) {
    const bool inside = image >= part.first_image && image < part.first_image + std::ssize(part.image_ranks);
    if (inside) part.add(image, scores.subspan(static_cast<std::size_t>(part.first_text), part.texts.size()));
  }
}

Metrics Recall::figures(comm::Communicator& control) const {
  Metrics metrics = parts_[0].figures(control);
  const auto folds = static_cast<double>(parts_.size() - 1);
  const std::int64_t images = std::ssize(parts_[0].image_ranks);
  if (folds > 0 && images % kFold != 0 && control.rank() == 0) {
    log::warn("{} images make {} folds of {}: the 1K scores leave out the last {}", images, folds, kFold,
              images % kFold);
  }
  for (const Part& fold : std::span(parts_).subspan(1)) {
    for (const auto& [name, value] : fold.figures(control)) metrics[name + "_1k"] += value / folds;
  }
  return metrics;
}

}  // namespace pixelbert::evaluation
