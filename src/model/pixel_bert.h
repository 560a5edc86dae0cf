// Pixel-BERT without its heads: pixels and text in, one hidden vector per token out (facts 1.1, Figure 2 of the paper:
// CNN -> conv -> pooling -> random sampling -> + semantic embedding -> Transformer together with the text).
//
// Shapes: I pictures, B pairs, T text tokens, P pixel tokens (the most any pair of the batch has), C hidden.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/bert.h"
#include "model/pixel_embedding.h"
#include "model/resnet.h"

namespace pixelbert::model {

// Every option the paper leaves open has the default of facts 8.
struct PixelBertConfig {
  std::string backbone = "resnet50";  // resnet18|34|50|101|152, resnext50-32x4d, resnext101-32x8d, resnext152-32x4d, -32x8d
  std::string batch_norm = "local";   // "frozen": running statistics; "local": those of the micro-batch
  std::int64_t frozen_stages = 2;     // 0 none, 1 stem, 2 stem + layer1, ... 5 the whole CNN (facts 1.1: SOHO's rule is 2)
  std::int64_t visual_kernel = 1;     // 1 or 3
  std::string visual_order = "conv-pool";  // or "pool-conv", "conv" (no pooling)
  bool visual_relu = false;
  bool pixel_layernorm = false;
  std::int64_t sampled_pixels = 100;  // in pre-training, facts 1.3
  std::int64_t vocabulary = 30522;
  std::int64_t hidden = 768;
  std::int64_t layers = 12;
  std::int64_t heads = 12;
  std::int64_t intermediate = 0;      // 0: 4 * hidden
  std::int64_t positions = 512;
  double dropout = 0.1;
};

struct Inputs {
  torch::Tensor images;         // [I, 3, H, W] float32
  torch::Tensor image_sizes;    // [I, 2] int64 on the CPU, before padding
  torch::Tensor image_of_pair;  // [B] int64
  torch::Tensor tokens;         // [B, T] int64
  torch::Tensor token_mask;     // [B, T] bool, true where there is a token
  std::vector<std::uint64_t> pixel_keys;  // [B] draw min(sampled_pixels, available) by these; empty: all pixels
};

struct Encoded {
  torch::Tensor hidden;      // [B, T + P, C], text first
  torch::Tensor mask;        // [B, T + P] bool, true where there is a token or pixel
  std::int64_t text_tokens;  // T
  torch::Tensor pair() const { return hidden.select(1, 0); }                     // [B, C], the vector of [CLS]
  torch::Tensor text() const { return hidden.narrow(1, 0, text_tokens); }        // [B, T, C]
};

class PixelBertImpl : public torch::nn::Module {
 public:
  explicit PixelBertImpl(const PixelBertConfig& config);

  Encoded forward(const Inputs& inputs);

  const PixelBertConfig& config() const { return config_; }
  std::vector<torch::Tensor> backbone_parameters() const;  // trained by SGD; without the frozen stages
  std::vector<std::pair<std::string, torch::Tensor>> transformer_parameters() const;  // everything else, by AdamW

  // Local BatchNorm gathers the statistics of each micro-batch of a step here: flat [n] sums of mean and variance, the
  // last element the number of micro-batches. The loop sums it over ranks and gives it to update_running_statistics,
  // so the running statistics do not depend on how the batch is cut over ranks. Empty when nothing is gathered.
  torch::Tensor batch_statistics();
  void update_running_statistics(const torch::Tensor& summed);  // and starts the next step's sums from zero

 private:
  PixelBertConfig config_;
  ResNet backbone_{nullptr};
  PixelEmbedding visual_{nullptr};
  Bert bert_{nullptr};
};
TORCH_MODULE(PixelBert);

// Multiply-adds times two of one forward pass, all layers, as executed (facts 4.2 counts multiply-adds once).
double forward_flops(const PixelBertConfig& config, const Inputs& inputs);

}  // namespace pixelbert::model
