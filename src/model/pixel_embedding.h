// Turns the CNN's feature map into pixel tokens (paper, Figure 2): convolution to the Transformer's width, 2x2
// max-pooling, random sampling of cells, and one learned vector added to every token. Pixels have no position.
//
// Shapes: I images, B pairs, P pixel tokens of the pair that has most, C hidden.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "model/layers.h"
#include "model/pixel_bert_config.h"
#include "model/pixel_grid.h"

namespace pixelbert::model {

struct ImageLayout {
  torch::Tensor sizes;    // [I, 2] int64: height and width of each image in pixels, before padding
  torch::Tensor of_pair;  // [B] int64: the image of each pair
  Grid padded;            // pixels of the batch
};

// Returns the grid of tokens of an image of this size.
Grid token_grid(const PixelBertConfig& config, Grid pixels);

// The cells of each pair's tokens.
struct PixelChoice {
  torch::Tensor cells;  // [B, P] int64 into the batch's flattened [I * grid cells], ascending; on the CPU
  torch::Tensor mask;   // [B, P] bool, false after the tokens of a pair that has fewer than P; on the CPU
};

// Chooses all cells of each pair's image in row order, or min(sampled_pixels, all) of them drawn with the pair's key: a
// pure function of size, key and option. Chooses all if there are no `keys`.
PixelChoice choose_pixels(const PixelBertConfig& config, const ImageLayout& layout,
                          const std::vector<std::uint64_t>& keys);

struct PixelTokens {
  torch::Tensor tokens;  // [B, P, C]
  torch::Tensor mask;    // [B, P] bool
};

class PixelEmbeddingImpl : public torch::nn::Module {
 public:
  PixelEmbeddingImpl(const PixelBertConfig& config, std::int64_t feature_channels);

  // `features` [I, F, h, w] of the padded batch.
  PixelTokens forward(const torch::Tensor& features, const ImageLayout& layout, const std::vector<std::uint64_t>& keys);

 private:
  torch::Tensor project(const torch::Tensor& features) const;
  torch::Tensor pool(const torch::Tensor& features, const ImageLayout& layout) const;

  PixelBertConfig config_;
  torch::Tensor conv_weight_;         // [C, F, kernel, kernel]
  torch::Tensor conv_bias_;           // [C]
  torch::Tensor semantic_embedding_;  // [C], s_v of the paper's equation 5
  std::optional<LayerNorm> layer_norm_;
};
TORCH_MODULE(PixelEmbedding);

}  // namespace pixelbert::model
