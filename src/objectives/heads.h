// Heads on the encoding; their names in model.safetensors are transformers'.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>

#include "model/layers.h"

namespace pixelbert::objectives {

// BERT's masked language model: dense, erf-GELU, LayerNorm, and a decoder that is the word embeddings and a bias.
class MlmHeadImpl : public torch::nn::Module {
 public:
  MlmHeadImpl(std::int64_t hidden, std::int64_t vocabulary);

  // [N, hidden], [vocabulary, hidden] -> [N, vocabulary]
  torch::Tensor forward(const torch::Tensor& hidden, const torch::Tensor& word_embeddings);

 private:
  model::Linear dense_;
  model::LayerNorm norm_;
  torch::Tensor bias_;  // [vocabulary]
};
TORCH_MODULE(MlmHead);

// Image-text matching: one logit, positive where the text belongs to the image.
class ItmHeadImpl : public torch::nn::Module {
 public:
  explicit ItmHeadImpl(std::int64_t hidden);

  torch::Tensor forward(const torch::Tensor& pair);  // [B, hidden] -> [B]

 private:
  torch::Tensor weight_;  // [1, hidden]
  torch::Tensor bias_;    // [1]
};
TORCH_MODULE(ItmHead);

}  // namespace pixelbert::objectives
