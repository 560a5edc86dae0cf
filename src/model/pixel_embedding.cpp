#include "model/pixel_embedding.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/check.h"

namespace pixelbert::model {
namespace {

Grid image_pixels(const ImageLayout& layout, std::int64_t image) {
  const auto* size = layout.sizes.const_data_ptr<std::int64_t>() + 2 * image;
  const Grid pixels{size[0], size[1]};
  PB_CHECK(pixels.height > 0 && pixels.width > 0 && pixels.height <= layout.padded.height &&
               pixels.width <= layout.padded.width,
           "image {} of the batch has {}x{} pixels, but the batch is padded to {}x{}", image, pixels.height,
           pixels.width, layout.padded.height, layout.padded.width);
  return pixels;
}

// Pooling keeps a single feature row or column of an image, and in a larger batch it would reach into padding there.
// Everywhere else it rounds down and stays inside.
bool pool_reaches_padding(Grid features, Grid padded) {
  return (features.height == 1 && padded.height > 1) || (features.width == 1 && padded.width > 1);
}

}  // namespace

Grid token_grid(const PixelBertConfig& config, Grid pixels) {
  const Grid features = backbone_grid(pixels);
  return config.visual_order == VisualOrder::Conv ? features : pooled_grid(features);
}

PixelChoice choose_pixels(const PixelBertConfig& config, const ImageLayout& layout,
                          const std::vector<std::uint64_t>& keys) {
  const std::int64_t pairs = layout.of_pair.numel();
  PB_CHECK(keys.empty() || static_cast<std::int64_t>(keys.size()) == pairs,
           "expected one pixel key for each of {} pairs, found {}", pairs, keys.size());
  const auto* image_of_row = layout.of_pair.const_data_ptr<std::int64_t>();
  const std::int64_t wanted = keys.empty() ? 0 : config.sampled_pixels;
  const auto grid_of = [&](std::int64_t pair) { return token_grid(config, image_pixels(layout, image_of_row[pair])); };

  std::int64_t most = 0;
  for (std::int64_t pair = 0; pair < pairs; ++pair) {
    most = std::max(most, token_count(grid_of(pair).cells(), wanted));
  }
  PixelChoice choice{at::zeros({pairs, most}, at::kLong), at::zeros({pairs, most}, at::kBool)};
  auto* cells = choice.cells.mutable_data_ptr<std::int64_t>();
  auto* mask = choice.mask.mutable_data_ptr<bool>();

  const Grid batch_grid = token_grid(config, layout.padded);
  for (std::int64_t pair = 0; pair < pairs; ++pair, cells += most, mask += most) {
    const Grid grid = grid_of(pair);
    const std::int64_t first = image_of_row[pair] * batch_grid.cells();
    const std::int64_t count = token_count(grid.cells(), wanted);
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(count));
    if (count < grid.cells()) {
      chosen = sample_without_replacement(grid.cells(), count, keys[static_cast<std::size_t>(pair)]);
    } else {
      std::iota(chosen.begin(), chosen.end(), 0);
    }
    std::transform(chosen.begin(), chosen.end(), cells,
                   [&](std::int64_t cell) { return first + cell / grid.width * batch_grid.width + cell % grid.width; });
    std::fill(cells + count, cells + most, first);  // any cell without padding will do: these are masked
    std::fill(mask, mask + count, true);
  }
  return choice;
}

PixelEmbeddingImpl::PixelEmbeddingImpl(const PixelBertConfig& config, std::int64_t feature_channels) : config_(config) {
  const std::int64_t kernel = config.visual_kernel;
  torch::nn::Module& conv = named_group(*this, "conv");
  conv_weight_ = conv.register_parameter("weight", normal_parameter({config.hidden, feature_channels, kernel, kernel}));
  conv_bias_ = conv.register_parameter("bias", at::zeros({config.hidden}));
  semantic_embedding_ = register_parameter("semantic_embedding", normal_parameter({config.hidden}));
  if (config.pixel_layernorm) layer_norm_.emplace(*this, "LayerNorm", config.hidden);
}

torch::Tensor PixelEmbeddingImpl::project(const torch::Tensor& features) const {
  return at::conv2d(features, conv_weight_, conv_bias_, /*stride=*/1, /*padding=*/config_.visual_kernel / 2);
}

torch::Tensor PixelEmbeddingImpl::pool(const torch::Tensor& features, const ImageLayout& layout) const {
  const Grid padded{features.size(2), features.size(3)};
  torch::Tensor visible = features;
  torch::Tensor padding;  // [I, 1, h, w], made for the rare batch that needs it
  for (std::int64_t image = 0; image < features.size(0); ++image) {
    const Grid grid = backbone_grid(image_pixels(layout, image));
    if (!pool_reaches_padding(grid, padded)) continue;
    if (!padding.defined()) padding = at::zeros({features.size(0), 1, padded.height, padded.width}, at::kBool);
    padding[image].narrow(1, grid.height, padded.height - grid.height).fill_(true);
    padding[image].narrow(2, grid.width, padded.width - grid.width).fill_(true);
  }
  if (padding.defined()) {
    // The backbone's output is never negative, so 0 is low enough there; minus infinity would put 0 * infinity into the
    // gradient of a convolution after the pool.
    const double lowest = config_.visual_order == VisualOrder::PoolConv ? 0 : -std::numeric_limits<double>::infinity();
    visible = features.masked_fill(padding.to(features.device()), lowest);
  }
  return at::max_pool2d(visible, {std::min<std::int64_t>(2, padded.height), std::min<std::int64_t>(2, padded.width)},
                        /*stride=*/2);
}

PixelTokens PixelEmbeddingImpl::forward(const torch::Tensor& features, const ImageLayout& layout,
                                        const std::vector<std::uint64_t>& keys) {
  torch::Tensor grid;
  if (config_.visual_order == VisualOrder::Conv) {
    grid = project(features);
  } else if (config_.visual_order == VisualOrder::ConvPool) {
    grid = pool(project(features), layout);
  } else {
    grid = project(pool(features, layout));
  }
  if (config_.visual_relu) grid = at::relu(grid);

  PixelChoice choice = choose_pixels(config_, layout, keys);
  if (grid.is_cuda()) choice = {choice.cells.pin_memory(), choice.mask.pin_memory()};    // or the copies may wait
  const torch::Tensor cells = grid.permute({0, 2, 3, 1}).reshape({-1, config_.hidden});  // [I * h * w, C]
  // An embedding is a gather of rows whose gradient is also added by rows, in the same order on every run.
  torch::Tensor tokens = at::embedding(cells, choice.cells.to(grid.device(), /*non_blocking=*/true));
  tokens = tokens + semantic_embedding_;
  if (layer_norm_) tokens = (*layer_norm_)(tokens);
  return {tokens, choice.mask.to(grid.device(), /*non_blocking=*/true)};
}

}  // namespace pixelbert::model
