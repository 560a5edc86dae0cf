// Masked language modelling and image-text matching on one encoding (paper, 3.3).
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/pixel_bert.h"
#include "objectives/heads.h"

namespace pixelbert::objectives {

// A term is a sum, not a mean: its count is added over all ranks before backward, so that the quotient is exact however
// the batch is cut.
struct LossTerm {
  torch::Tensor sum;      // [] float32 on the batch's device
  torch::Tensor correct;  // [] float32, how many were right
};

class PretrainImpl : public torch::nn::Module {
 public:
  explicit PretrainImpl(const model::PixelBertConfig& config);

  // {"mlm", "itm"}: the order of everything below, the same on every rank.
  static const std::vector<std::string>& terms();

  // Masked tokens and pairs; from the batch alone, before any forward pass.
  static std::vector<std::int64_t> counts(const data::Batch& batch);

  // One forward pass of the model serves both. Cross-entropy over the vocabulary for each masked token, binary
  // cross-entropy for each pair, in float32 whatever the precision of the model. A batch without masked tokens has an
  // MLM sum of zero that still depends on every parameter of the head: all parameters take part in every backward.
  std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch);

  // Logits for one encoding: MLM [N, vocabulary] at `positions` (into B * T), ITM [B].
  torch::Tensor mlm_logits(model::PixelBert& model, const model::Encoded& encoded, const torch::Tensor& positions);
  torch::Tensor itm_logits(const model::Encoded& encoded);

 private:
  MlmHead cls_{nullptr};
  ItmHead itm_{nullptr};
};
TORCH_MODULE(Pretrain);

model::Inputs inputs_of(const data::Batch& batch);

}  // namespace pixelbert::objectives
