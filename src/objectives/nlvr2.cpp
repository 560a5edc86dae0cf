#include "objectives/nlvr2.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>

namespace pixelbert::objectives {

Nlvr2Impl::Nlvr2Impl(std::int64_t hidden, double dropout) {
  nlvr2_ = register_module("nlvr2", ClassHead(2 * hidden, 2 * hidden, 2, dropout));  // ViLT: 1536, 1536, 2
}

const std::vector<std::string>& Nlvr2Impl::terms() const {
  static const std::vector<std::string> names = {"nlvr2"};
  return names;
}

std::vector<std::int64_t> Nlvr2Impl::counts(const data::Batch& batch) const {
  return {batch.labels.numel()};
}

std::vector<LossTerm> Nlvr2Impl::losses(model::PixelBert& model, const data::Batch& batch) {
  const torch::Tensor given = logits(model->forward(inputs_of(batch, wanted()))).to(torch::kFloat);
  return {{.sum = at::cross_entropy_loss(given, batch.labels, {}, at::Reduction::Sum),
           .correct = given.detach().argmax(1).eq(batch.labels).sum().to(torch::kFloat)}};
}

torch::Tensor Nlvr2Impl::logits(const model::Encoded& encoded) {
  const torch::Tensor pair = encoded.pair();  // [2 N, C]
  return nlvr2_->forward(pair.reshape({pair.size(0) / 2, 2 * pair.size(1)}));
}

}  // namespace pixelbert::objectives
