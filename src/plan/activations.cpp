#include "plan/activations.h"

#include <algorithm>
#include <vector>

#include "model/pixel_embedding.h"
#include "model/resnet.h"

namespace pixelbert::plan {
namespace {

using model::Grid;

constexpr double kIndex = 8;  // max-pooling stores where each maximum was

double cells(Grid grid) {
  return static_cast<double>(grid.cells());
}

double count(std::int64_t number) {
  return static_cast<double>(number);
}

// A stage of the forward pass, in order.
struct Stage {
  double kept = 0;     // until backward has passed this stage
  double passing = 0;  // temporary, in forward or backward
};

// Backward frees from the end, so that at each stage the tensors of earlier stages are still there.
double peak(const std::vector<Stage>& stages) {
  double kept = 0, most = 0;
  for (const Stage& stage : stages) {
    kept += stage.kept;
    most = std::max(most, kept + stage.passing);
  }
  return most;
}

double kept_by(const std::vector<Stage>& stages) {
  double kept = 0;
  for (const Stage& stage : stages) kept += stage.kept;
  return kept;
}

class Cnn {
 public:
  Cnn(const model::PixelBertConfig& config, const BatchShape& shape, const Compute& compute)
      : config_(config),
        backbone_(model::resnet_shape(config.backbone)),
        images_(count(shape.images)),
        element_(compute.bf16 ? 2 : kFloat),
        bf16_(compute.bf16) {
    grid_ = {shape.height, shape.width};
    stages_.push_back(stem());
    for (const auto& layer : backbone_.layers) stages_.push_back(blocks(layer));
    stages_.push_back(projection());
  }

  const std::vector<Stage>& stages() const { return stages_; }
  double casts() const { return casts_; }

 private:
  bool trained() const { return static_cast<std::int64_t>(stages_.size()) >= config_.frozen_stages; }
  double map(std::int64_t channels) const { return images_ * count(channels) * cells(grid_) * element_; }

  // Convolution, BatchNorm and, except for a shortcut, ReLU in place. BatchNorm keeps its input, ReLU its output.
  void conv_norm(const model::ConvShape& conv, bool relu, Stage& stage) {
    grid_ = model::conv_grid(conv, grid_);
    const double out = map(conv.out);
    const double weights = count(conv.out * (conv.in / conv.groups) * conv.kernel * conv.kernel) * element_;
    stage.passing = std::max(stage.passing, 3 * out);
    if (!trained()) return;
    const bool local = config_.batch_norm == model::NormMode::Local;
    if (local) stage.kept += out;
    if (relu) stage.kept += out;
    if (bf16_ || !local) casts_ += weights;
    stage.passing = std::max(stage.passing, 3 * weights);  // their gradient, in three memory orders
  }

  Stage stem() {
    Stage stage;
    if (bf16_) (trained() ? stage.kept : stage.passing) += map(3);
    conv_norm(backbone_.stem, /*relu=*/true, stage);
    grid_ = {(grid_.height + 1) / 2, (grid_.width + 1) / 2};
    const double pooled = map(backbone_.stem.out);
    if (trained()) stage.kept += pooled + pooled / element_ * kIndex;
    if (config_.frozen_stages == 1) stage.kept += pooled;  // what the first trained convolution reads
    return stage;
  }

  Stage blocks(const std::vector<model::BlockShape>& blocks) {
    Stage stage;
    for (const model::BlockShape& block : blocks) {
      const Grid in = grid_;
      if (block.shortcut) conv_norm(*block.shortcut, /*relu=*/false, stage);
      grid_ = in;
      for (const model::ConvShape& conv : block.convs) conv_norm(conv, /*relu=*/true, stage);
    }
    const auto next = static_cast<std::int64_t>(stages_.size()) + 1;
    if (config_.frozen_stages == next) stage.kept += map(blocks.back().convs.back().out);
    return stage;
  }

  Stage projection() {
    const Grid features = grid_;
    const Grid pooled = model::pooled_grid(features);
    const auto size = [&](std::int64_t channels, Grid grid) { return images_ * count(channels) * cells(grid); };
    Stage stage;
    Grid projected = features;
    if (config_.visual_order == model::VisualOrder::PoolConv) {
      projected = pooled;
      stage.kept += size(backbone_.channels, pooled) * (element_ + kIndex);
    } else if (config_.visual_order == model::VisualOrder::ConvPool) {
      stage.kept += size(config_.hidden, features) * element_ + size(config_.hidden, pooled) * kIndex;
    }
    stage.kept += config_.visual_relu ? size(config_.hidden, projected) * element_ : 0;
    stage.passing = 3 * size(config_.hidden, projected) * element_;
    const double weights = count(config_.hidden * backbone_.channels * config_.visual_kernel * config_.visual_kernel);
    if (bf16_) casts_ += 2 * weights;
    return stage;
  }

  const model::PixelBertConfig& config_;
  model::ResNetShape backbone_;
  double images_;
  double element_;  // bytes
  bool bf16_;
  Grid grid_;
  std::vector<Stage> stages_;
  double casts_ = 0;
};

// The Transformer over `rows` rows.
class Encoder {
 public:
  Encoder(const model::PixelBertConfig& config, const BatchShape& shape, const Compute& compute)
      : config_(config),
        hidden_(count(config.hidden)),
        intermediate_(config.intermediate == 0 ? 4 * hidden_ : count(config.intermediate)),
        text_(count(shape.text_tokens)),
        pixels_(count(shape.pixel_tokens)),
        bf16_(compute.bf16),
        packed_(!compute.cuda && !compute.bf16),
        attention_in_parts_(!compute.cuda && compute.bf16 && config.dropout > 0),
        attention_padded_(!compute.cuda && compute.bf16 && config.dropout == 0) {}

  // `words` as below.
  Stage embeddings(double rows, double words) const {
    const double text = rows * text_ * hidden_ * kFloat, pixels = rows * pixels_ * hidden_ * kFloat;
    // LayerNorm's input; the decoder's half of the words' gradient, to which the other is added in place.
    Stage stage{.kept = text, .passing = std::max(2 * (text + pixels), words)};
    if (config_.dropout > 0) stage.kept += mask(text, kFloat);
    if (config_.pixel_layernorm) stage.kept += pixels;
    if (!bf16_) stage.kept += text + pixels;  // the first layer's input; in bfloat16 each layer counts its own
    return stage;
  }

  // `words`: bytes of the word embeddings' gradient, of which MLM's half waits for the other half. The last layer
  // computes `wanted` tokens of a row.
  Stage layer(double rows, double words, double wanted) const {
    const double all = rows * (text_ + pixels_), tokens = rows * wanted, element = bf16_ ? 2 : kFloat;
    const double scores = tokens * count(config_.heads) * (text_ + pixels_) * element;

    // Key and value; query and attention's result; before and after GELU.
    double kept = element * (2 * all * hidden_ + tokens * (2 * hidden_ + 2 * intermediate_));
    if (config_.dropout > 0) kept += 2 * mask(tokens * hidden_ * element, element);
    kept += 2 * tokens * hidden_ * kFloat;  // the sums that LayerNorm reads stay float32
    // LayerNorm's results in float32; in bfloat16 only their casts, of which query, key and value share one.
    kept += bf16_ ? ((tokens < all ? tokens : 0) + all + tokens) * hidden_ * element : 2 * tokens * hidden_ * kFloat;
    if (attention_padded_) kept += tokens * hidden_ * element;      // its result, with padding and without
    if (tokens < all && !bf16_) kept += tokens * hidden_ * kFloat;  // a copy of the wanted rows, for the query
    if (packed_) kept += scores + (config_.dropout > 0 ? mask(scores, element) : 0);
    if (attention_in_parts_) kept += 2 * scores + mask(scores, element);  // softmax, its mask, and both together
    return {.kept = kept,
            .passing = words + std::max(tokens * intermediate_ * element, attention_in_parts_ ? scores : 0)};
  }

  // Without gradients.
  double passing(double rows) const {
    const double tokens = rows * (text_ + pixels_), element = bf16_ ? 2 : kFloat;
    return tokens * (3 * hidden_ * kFloat + 2 * intermediate_ * element);
  }

  double casts() const { return bf16_ ? 2 * count(config_.layers) * hidden_ * (4 * hidden_ + 2 * intermediate_) : 0; }

 private:
  // One byte for each element that dropout may drop; the elements take `bytes`.
  static double mask(double bytes, double element) { return bytes / element; }

  const model::PixelBertConfig& config_;
  double hidden_, intermediate_, text_, pixels_;
  bool bf16_;
  bool packed_;              // model/packed_attention.h, which keeps attention's weights
  bool attention_in_parts_;  // separate operators keep their results; a GPU's fused attention computes them again
  bool attention_padded_;    // LibTorch's fused attention on the CPU, which keeps its padded result
};

}  // namespace

BatchShape shape_of(const data::Batch& batch, const model::PixelBertConfig& model) {
  const model::ImageLayout layout{.sizes = batch.image_sizes,
                                  .of_pair = batch.image_of_row,
                                  .padded = {batch.images.size(2), batch.images.size(3)}};
  return {.images = batch.images.size(0),
          .height = batch.images.size(2),
          .width = batch.images.size(3),
          .samples = static_cast<std::int64_t>(batch.pairs.size()),
          .rows = batch.tokens.size(0),
          .text_tokens = batch.tokens.size(1),
          .pixel_tokens = model::choose_pixels(model, layout, batch.pixel_keys).cells.size(1),
          .masked = batch.mlm_positions.defined() ? batch.mlm_positions.numel() : 0};
}

BatchShape largest(const BatchShape& a, const BatchShape& b) {
  const auto pixels = [](const BatchShape& shape) { return shape.images * shape.height * shape.width; };
  const BatchShape& larger = pixels(a) < pixels(b) ? b : a;
  return {.images = larger.images,
          .height = larger.height,
          .width = larger.width,
          .samples = std::max(a.samples, b.samples),
          .rows = std::max(a.rows, b.rows),
          .text_tokens = std::max(a.text_tokens, b.text_tokens),
          .pixel_tokens = std::max(a.pixel_tokens, b.pixel_tokens),
          .masked = std::max(a.masked, b.masked)};
}

Activations activations(const model::PixelBertConfig& model, const HeadMemory& head, const BatchShape& shape,
                        const Compute& compute) {
  const Cnn cnn(model, shape, compute);
  const Encoder encoder(model, shape, compute);
  std::vector<Stage> stages = cnn.stages();
  double rows = count(shape.rows);
  if (head.learned_rows) {
    stages.push_back({.kept = 0, .passing = encoder.passing(rows)});
    rows = count(*head.learned_rows);
  }
  stages.push_back(encoder.embeddings(rows, head.words));
  const double all = count(shape.text_tokens + shape.pixel_tokens);
  const double wanted = head.words > 0 ? count(shape.text_tokens) : 1;  // model::Wanted
  for (std::int64_t layer = 1; layer < model.layers; ++layer) stages.push_back(encoder.layer(rows, head.words, all));
  stages.push_back(encoder.layer(rows, head.words, wanted));
  stages.push_back({.kept = head.kept, .passing = head.passing});

  Activations result;
  result.cnn = kept_by(cnn.stages());
  result.head = stages.back().kept;
  result.encoder = kept_by(stages) - result.cnn - result.head;
  result.casts = cnn.casts() + encoder.casts();
  if (compute.bf16) result.casts += head.words / 2;
  result.passing = peak(stages) - kept_by(stages);
  return result;
}

}  // namespace pixelbert::plan
