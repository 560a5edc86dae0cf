// Natural language for visual reasoning: is a statement true of two images? The model reads each with the text in a
// pass of its own, and the two [CLS] vectors are classified together (paper).
#pragma once

#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"

namespace pixelbert::objectives {

class Nlvr2Impl : public Objective {
 public:
  Nlvr2Impl(std::int64_t hidden, double dropout);

  const std::vector<std::string>& terms() const override;                                    // "nlvr2"
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;                 // statements
  std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;  // cross-entropy

  torch::Tensor logits(const model::Encoded& encoded);  // rows left, right, left, right, ... -> [N, 2], false and true

 private:
  ClassHead nlvr2_{nullptr};
};
TORCH_MODULE(Nlvr2);

}  // namespace pixelbert::objectives
