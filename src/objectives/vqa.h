// Visual question answering: classification among the answers of a vocabulary (paper).
#pragma once

#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"

namespace pixelbert::objectives {

class VqaImpl : public Objective {
 public:
  VqaImpl(std::int64_t hidden, std::int64_t answers, double dropout);

  const std::vector<std::string>& terms() const override;                     // "vqa"
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;  // questions

  // Binary cross-entropy with the soft scores, summed over the answers. `correct` sums the scores of the chosen
  // answers.
  std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;

  torch::Tensor logits(const model::Encoded& encoded);  // [N, answers]

 private:
  ClassHead vqa_{nullptr};
};
TORCH_MODULE(Vqa);

}  // namespace pixelbert::objectives
