#include "evaluation/pair_scores.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "core/activity.h"
#include "core/check.h"
#include "core/log.h"
#include "core/stop_signal.h"
#include "data/batch.h"
#include "model/autocast.h"

namespace pixelbert::evaluation {
namespace {

// Texts that the model reads together.
struct Chunk {
  torch::Tensor columns;  // [n] int64, of the score matrix
  torch::Tensor tokens, token_mask;
};

std::vector<Chunk> chunks_of(const std::vector<std::vector<std::int64_t>>& texts, std::int64_t size, std::int64_t pad,
                             torch::Device device) {
  std::vector<std::int64_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](std::int64_t text) { return std::ssize(texts[text]); };
  std::ranges::stable_sort(order, {}, length);  // so that chunks have little padding

  std::vector<Chunk> chunks;
  for (std::size_t first = 0; first < order.size(); first += static_cast<std::size_t>(size)) {
    const std::size_t last = std::min(order.size(), first + static_cast<std::size_t>(size));
    const std::vector<std::int64_t> columns(order.begin() + static_cast<std::ptrdiff_t>(first),
                                            order.begin() + static_cast<std::ptrdiff_t>(last));
    std::vector<std::vector<std::int64_t>> rows;
    for (const std::int64_t column : columns) rows.push_back(texts[column]);
    const auto [tokens, mask] = data::token_rows(rows, pad);
    chunks.push_back({at::tensor(columns), tokens.to(device), mask.to(device)});
  }
  return chunks;
}

torch::Tensor scores_of(const std::string& name, const torch::Tensor& image, const std::vector<Chunk>& chunks,
                        std::int64_t texts, const Evaluation& evaluation,
                        const std::function<torch::Tensor(const model::Encoded&)>& score) {
  model::PixelBert& model = evaluation.model;
  model::Inputs inputs;
  inputs.wanted = evaluation.objective.wanted();
  inputs.images = images::pad(image, images::padded({image.size(2), image.size(3)}, evaluation.image));
  inputs.image_sizes = at::tensor({image.size(2), image.size(3)}, at::kLong).view({1, 2});
  const torch::Tensor features = model->features(inputs.images);
  torch::Tensor scores = at::empty({texts});
  std::int64_t scored = 0;
  for (const Chunk& chunk : chunks) {
    end_when_stop_signalled();
    activity::doing(activity::Phase::Forward, fmt::format("{}, text {} of {}", name, scored + 1, texts));
    scored += chunk.columns.numel();
    inputs.tokens = chunk.tokens;
    inputs.token_mask = chunk.token_mask;
    inputs.image_of_row = at::zeros({chunk.columns.numel()}, at::kLong);
    scores.index_copy_(0, chunk.columns, score(model->encode(features, inputs)).to(at::kCPU, at::kFloat));
  }
  return scores;
}

torch::Tensor load_image(const shards::ShardSet& data, std::int64_t image, const images::ImageConfig& config) {
  try {
    return images::load(data.image(image), config);
  } catch (const images::BadImage& error) {
    fail(fmt::format("image {} of {} cannot be used: {}. Make the shards again", data.image_id(image),
                     data.folder().string(), error.what()));
  }
}

}  // namespace

Pairs all_pairs(const shards::ShardSet& data, std::int64_t texts_per_image) {
  Pairs pairs;
  const std::vector<std::int64_t> counts = data.text_counts(0, data.images());
  std::int64_t first = 0;
  for (std::int64_t image = 0; image < data.images(); ++image) {
    const std::int64_t count = counts[image];
    for (std::int64_t i = 0; i < std::min(count, texts_per_image); ++i) {
      pairs.texts.push_back(first + i);
      pairs.image_of_text.push_back(std::ssize(pairs.images));
    }
    if (count > 0) pairs.images.push_back(image);
    first += count;
  }
  return pairs;
}

void score_pairs(const Evaluation& evaluation, const Pairs& pairs,
                 const std::function<torch::Tensor(const model::Encoded&)>& score,
                 const std::function<void(std::int64_t, const torch::Tensor&)>& take) {
  const torch::NoGradGuard no_grad;
  const shards::ShardSet& data = *evaluation.data.front();
  const text::WordPiece& tokenizer = evaluation.tokenizer;
  comm::Communicator& control = evaluation.control;
  std::vector<std::vector<std::int64_t>> texts;
  for (const std::int64_t text : pairs.texts) {
    texts.push_back(tokenizer.encode(data.text(text), evaluation.text.max_tokens));
  }
  const std::vector<Chunk> chunks =
      chunks_of(texts, evaluation.micro_batch, tokenizer.vocabulary().pad(), evaluation.device);

  const auto images = std::ssize(pairs.images);
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = control.rank(); i < images; i += control.world_size()) {
    const std::string name = fmt::format("image {} of {}", i + 1, images);
    activity::doing(activity::Phase::Forward, name);
    const model::Autocast autocast(evaluation.device.type(), evaluation.precision);
    torch::Tensor image = load_image(data, pairs.images[i], evaluation.image).to(evaluation.device);
    if (evaluation.blank_images) image.zero_();
    take(i, scores_of(name, image, chunks, std::ssize(texts), evaluation, score));
  }
  activity::waiting(activity::Wait::Sums, "all ranks' scores");
  control.barrier();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log::info("{} images with {} texts in {:.1f} s: {:.0f} pairs/s", images, texts.size(), seconds,
            static_cast<double>(images * std::ssize(texts)) / seconds);
}

}  // namespace pixelbert::evaluation
