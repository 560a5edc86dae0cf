#include "objectives/vqa.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>

namespace pixelbert::objectives {

VqaImpl::VqaImpl(std::int64_t hidden, std::int64_t answers, double dropout) {
  vqa_ = register_module("vqa", ClassHead(hidden, 4 * hidden, answers, dropout));  // SOHO: 768, 3072, 3129
}

const std::vector<std::string>& VqaImpl::terms() const {
  static const std::vector<std::string> names = {"vqa"};
  return names;
}

std::vector<std::int64_t> VqaImpl::counts(const data::Batch& batch) const {
  return {batch.answer_scores.size(0)};
}

std::vector<LossTerm> VqaImpl::losses(model::PixelBert& model, const data::Batch& batch) {
  const torch::Tensor given = logits(model->forward(inputs_of(batch, wanted()))).to(torch::kFloat);
  const torch::Tensor best = given.detach().argmax(1, /*keepdim=*/true);
  return {{.sum = at::binary_cross_entropy_with_logits(given, batch.answer_scores, {}, {}, at::Reduction::Sum),
           .correct = batch.answer_scores.gather(1, best).sum()}};
}

torch::Tensor VqaImpl::logits(const model::Encoded& encoded) {
  return vqa_->forward(encoded.pair());
}

}  // namespace pixelbert::objectives
