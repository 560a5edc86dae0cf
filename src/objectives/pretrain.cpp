#include "objectives/pretrain.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>

namespace pixelbert::objectives {

PretrainImpl::PretrainImpl(const model::PixelBertConfig& config, bool mlm, bool itm) {
  if (mlm) {
    terms_.push_back("mlm");
    cls_ = register_module("cls", MlmHead(config.hidden, config.vocabulary));
  }
  if (itm) {
    terms_.push_back("itm");
    itm_ = register_module("itm", ScoreHead(config.hidden));
  }
}

std::vector<std::int64_t> PretrainImpl::counts(const data::Batch& batch) const {
  std::vector<std::int64_t> counts;
  if (has_mlm()) counts.push_back(batch.mlm_positions.numel());
  if (has_itm()) counts.push_back(batch.itm_labels.numel());
  return counts;
}

std::vector<LossTerm> PretrainImpl::losses(model::PixelBert& model, const data::Batch& batch) {
  const model::Encoded encoded = model->forward(inputs_of(batch, wanted()));
  std::vector<LossTerm> losses;
  if (has_mlm()) {
    const torch::Tensor words = mlm_logits(encoded, batch.mlm_positions).to(torch::kFloat);
    losses.push_back({.sum = at::cross_entropy_loss(words, batch.mlm_labels, {}, at::Reduction::Sum),
                      .correct = words.detach().argmax(1).eq(batch.mlm_labels).sum().to(torch::kFloat)});
  }
  if (has_itm()) {
    const torch::Tensor match = itm_logits(encoded).to(torch::kFloat);
    losses.push_back({.sum = at::binary_cross_entropy_with_logits(match, batch.itm_labels, {}, {}, at::Reduction::Sum),
                      .correct = match.detach().gt(0).eq(batch.itm_labels.gt(0.5)).sum().to(torch::kFloat)});
  }
  return losses;
}

torch::Tensor PretrainImpl::mlm_logits(const model::Encoded& encoded, const torch::Tensor& positions) {
  // The vocabulary is the widest layer of all, so only the masked tokens go through it.
  const torch::Tensor chosen = encoded.text().flatten(0, 1).index_select(0, positions);
  return cls_->forward(chosen, encoded.decoder);
}

torch::Tensor PretrainImpl::itm_logits(const model::Encoded& encoded) {
  return itm_->forward(encoded.pair());
}

}  // namespace pixelbert::objectives
