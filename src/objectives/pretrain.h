// Masked language modelling and image-text matching on one encoding (facts 2.3).
#pragma once

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

  // Call order is the model's: one forward serves both. A term without anything to count is zero times its head's
  // output, so that every parameter takes part in every backward.
  std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch);

  // Logits for one encoding: MLM [N, vocabulary] at `positions` (into B * T), ITM [B].
  torch::Tensor mlm_logits(model::PixelBert& model, const model::Encoded& encoded, const torch::Tensor& positions);
  torch::Tensor itm_logits(const model::Encoded& encoded);

 private:
  MlmHead cls_{nullptr};
  torch::nn::Linear itm_{nullptr};
};
TORCH_MODULE(Pretrain);

model::Inputs inputs_of(const data::Batch& batch);

}  // namespace pixelbert::objectives
