// Heads on the encoding; their names in model.safetensors are transformers' where it has them.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>

#include "core/option.h"
#include "core/problems.h"
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

// One logit, the higher the better text and image fit: image-text matching, retrieval. In float32 whatever the
// precision: thousands of scores are compared, and with the eight significant bits of bfloat16 many of them would be
// equal.
class ScoreHeadImpl : public torch::nn::Module {
 public:
  explicit ScoreHeadImpl(std::int64_t hidden);

  torch::Tensor forward(const torch::Tensor& pair);  // [B, hidden] -> [B]

 private:
  torch::Tensor weight_;  // [1, hidden]
  torch::Tensor bias_;    // [1]
};
TORCH_MODULE(ScoreHead);

// The option of ClassHead.
struct HeadConfig {
  double dropout = 0.5;  // SOHO
};

template <class Field>
void describe(HeadConfig& config, Field&& field) {
  field("finetune.head-dropout", config.dropout, "dropout in the head of vqa and nlvr2");
}

inline void find_problems(const HeadConfig& config, Problems& problems) {
  problems.dropout("finetune.head-dropout", config.dropout);
}

// Linear, ReLU, dropout, linear, as SOHO's VQA head. Its last layer is float32 whatever the precision, as ScoreHead is.
class ClassHeadImpl : public torch::nn::Module {
 public:
  ClassHeadImpl(std::int64_t in, std::int64_t inner, std::int64_t classes, double dropout);

  torch::Tensor forward(const torch::Tensor& x);  // [N, in] -> [N, classes]

 private:
  model::Linear dense_;
  model::Dropout dropout_;
  model::Linear classifier_;
};
TORCH_MODULE(ClassHead);

}  // namespace pixelbert::objectives
