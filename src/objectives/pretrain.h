// Masked language modelling and image-text matching on one encoding (paper, 3.3).
#pragma once

#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"

namespace pixelbert::objectives {

class PretrainImpl : public Objective {
 public:
  // One of the two tasks may be left out (paper, Table 6); it then has no head.
  explicit PretrainImpl(const model::PixelBertConfig& config, bool mlm = true, bool itm = true);

  const std::vector<std::string>& terms() const override { return terms_; }  // "mlm", "itm"

  // Masked tokens and pairs.
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;

  model::Wanted wanted() const override { return has_mlm() ? model::Wanted::Text : model::Wanted::Pair; }

  // One forward pass of the model serves both. Cross-entropy over the vocabulary for each masked token, binary
  // cross-entropy for each pair. A batch without masked tokens has an MLM sum of zero that still depends on every
  // parameter of the head.
  std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;

  bool has_mlm() const { return !cls_.is_empty(); }
  bool has_itm() const { return !itm_.is_empty(); }

  // Logits for one encoding: MLM [N, vocabulary] at `positions` (into B * T), ITM [B].
  torch::Tensor mlm_logits(const model::Encoded& encoded, const torch::Tensor& positions);
  torch::Tensor itm_logits(const model::Encoded& encoded);

 private:
  std::vector<std::string> terms_;
  MlmHead cls_{nullptr};
  ScoreHead itm_{nullptr};
};
TORCH_MODULE(Pretrain);

}  // namespace pixelbert::objectives
