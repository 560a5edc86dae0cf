#include "objectives/pretrain.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>

namespace pixelbert::objectives {

PretrainImpl::PretrainImpl(const model::PixelBertConfig& config) {
  cls_ = register_module("cls", MlmHead(config.hidden, config.vocabulary));
  itm_ = register_module("itm", ItmHead(config.hidden));
}

const std::vector<std::string>& PretrainImpl::terms() {
  static const std::vector<std::string> names = {"mlm", "itm"};
  return names;
}

std::vector<std::int64_t> PretrainImpl::counts(const data::Batch& batch) {
  return {batch.mlm_positions.numel(), batch.itm_labels.numel()};
}

std::vector<LossTerm> PretrainImpl::losses(model::PixelBert& model, const data::Batch& batch) {
  const model::Encoded encoded = model->forward(inputs_of(batch));

  const torch::Tensor words = mlm_logits(model, encoded, batch.mlm_positions).to(torch::kFloat);
  const LossTerm mlm{.sum = at::cross_entropy_loss(words, batch.mlm_labels, {}, at::Reduction::Sum),
                     .correct = words.detach().argmax(1).eq(batch.mlm_labels).sum().to(torch::kFloat)};

  const torch::Tensor match = itm_logits(encoded).to(torch::kFloat);
  const LossTerm itm{.sum = at::binary_cross_entropy_with_logits(match, batch.itm_labels, {}, {}, at::Reduction::Sum),
                     .correct = match.detach().gt(0).eq(batch.itm_labels.gt(0.5)).sum().to(torch::kFloat)};
  return {mlm, itm};
}

torch::Tensor PretrainImpl::mlm_logits(model::PixelBert& model, const model::Encoded& encoded,
                                       const torch::Tensor& positions) {
  // The vocabulary is the widest layer of all, so only the masked tokens go through it.
  const torch::Tensor chosen = encoded.text().flatten(0, 1).index_select(0, positions);
  return cls_->forward(chosen, model->word_embeddings());
}

torch::Tensor PretrainImpl::itm_logits(const model::Encoded& encoded) {
  return itm_->forward(encoded.pair());
}

model::Inputs inputs_of(const data::Batch& batch) {
  return {.images = batch.images,
          .image_sizes = batch.image_sizes,
          .image_of_pair = batch.image_of_pair,
          .tokens = batch.tokens,
          .token_mask = batch.token_mask,
          .pixel_keys = batch.pixel_keys};
}

}  // namespace pixelbert::objectives
