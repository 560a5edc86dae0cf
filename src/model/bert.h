// BERT's text embedding and encoder: post-LayerNorm, erf-GELU, under the names of transformers' BertModel without its
// pooler. The type embedding is constant and therefore folded into the positions (paper, 3.2).
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "model/layers.h"
#include "model/packed_attention.h"
#include "model/pixel_bert_config.h"

namespace pixelbert::model {

class BertLayerImpl : public torch::nn::Module {
 public:
  explicit BertLayerImpl(const PixelBertConfig& config);

  // [B, S, C] -> [B, wanted, C] for the first `wanted` tokens, which attend to all tokens; `mask` [B, 1, 1, S] bool is
  // true for tokens to attend to.
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& mask, std::int64_t wanted);

  // The same without padding (in bfloat16 except for attention), on the CPU: [N, C], the rows of `all` -> [M, C], the
  // rows of `wanted`, which are the first ones of each sample.
  torch::Tensor forward(const torch::Tensor& x, const Packing& all, const Packing& wanted);

  // Returns [B, heads, S, S]: the attention of each row's token to each column's in forward(), without dropout.
  torch::Tensor attention(const torch::Tensor& x, const torch::Tensor& mask) const;

 private:
  struct Projected {
    torch::Tensor query, key, value;
  };
  Projected project(const torch::Tensor& asking, const torch::Tensor& x) const;  // [..., C] -> [..., C]

  // [B, wanted, C], [B, S, C], [B, S, C] -> [B, wanted, C]
  torch::Tensor attend(const Projected& projected, const torch::Tensor& mask) const;

  torch::Tensor split_heads(const torch::Tensor& x) const;  // [B, S, C] -> [B, heads, S, C / heads]
  double attention_dropout() const;
  torch::Tensor after_attention(const torch::Tensor& x, const torch::Tensor& attended);  // of x's rows

  std::int64_t heads_;
  Dropout dropout_;
  Linear query_, key_, value_, attention_output_;
  LayerNorm attention_norm_;
  Linear intermediate_, output_;
  LayerNorm output_norm_;
};
TORCH_MODULE(BertLayer);

struct EmbeddedText {
  torch::Tensor tokens;   // [B, T, C]
  torch::Tensor decoder;  // [vocabulary, C], the word embeddings, for the MLM head
};

class BertImpl : public torch::nn::Module {
 public:
  explicit BertImpl(const PixelBertConfig& config);

  EmbeddedText embed(const torch::Tensor& tokens);  // from [B, T] int64
  // [B, S, C], [B, S] bool -> [B, wanted, C]: the last layer computes only the tokens asked for. On the CPU the rows
  // for padding are 0, and only attention in bfloat16 computes any.
  torch::Tensor encode(const torch::Tensor& x, const torch::Tensor& mask, std::int64_t wanted);

  // Like encode(), but returns [B, heads, S, S] for each layer. In evaluation mode.
  std::vector<torch::Tensor> attentions(const torch::Tensor& x, const torch::Tensor& mask);

 private:
  torch::Tensor encode_packed(const torch::Tensor& x, const torch::Tensor& mask, std::int64_t wanted);

  Dropout dropout_;
  torch::Tensor word_embeddings_;      // [vocabulary, C]
  torch::Tensor position_embeddings_;  // [positions, C]
  LayerNorm embedding_norm_;
  std::vector<BertLayer> layers_;
};
TORCH_MODULE(Bert);

}  // namespace pixelbert::model
