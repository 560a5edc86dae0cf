// Image-text retrieval: among texts of other images, an image's own should get the highest score (paper).
#pragma once

#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"

namespace pixelbert::objectives {

class RetrievalImpl : public Objective {
 public:
  RetrievalImpl(std::int64_t hidden, std::int64_t hard_texts);

  const std::vector<std::string>& terms() const override;                     // "retrieval"
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;  // pairs

  // Cross-entropy of the own text against the hard negatives: the `hard_texts` negatives that score highest. All texts
  // are scored first without a graph; only the own one and the hard negatives take memory for gradients and a backward.
  // `correct` counts pairs whose own text scored higher than every negative.
  std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;

  double flops(const model::PixelBertConfig& config, const data::Batch& batch) const override;

  torch::Tensor scores(const model::Encoded& encoded);  // [B]

 private:
  std::int64_t hard_texts_;
  ScoreHead retrieval_{nullptr};
};
TORCH_MODULE(Retrieval);

}  // namespace pixelbert::objectives
