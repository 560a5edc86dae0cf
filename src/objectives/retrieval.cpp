#include "objectives/retrieval.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace pixelbert::objectives {
namespace {

// Chooses rows of a batch, for another encoding of the same images.
model::Inputs chosen_rows(const model::Inputs& all, const torch::Tensor& rows) {
  model::Inputs chosen = all;
  chosen.image_of_row = all.image_of_row.index_select(0, rows.cpu());
  chosen.tokens = all.tokens.index_select(0, rows);
  chosen.token_mask = all.token_mask.index_select(0, rows);
  return chosen;
}

}  // namespace

RetrievalImpl::RetrievalImpl(std::int64_t hidden, std::int64_t hard_texts) : hard_texts_(hard_texts) {
  retrieval_ = register_module("retrieval", ScoreHead(hidden));
}

const std::vector<std::string>& RetrievalImpl::terms() const {
  static const std::vector<std::string> names = {"retrieval"};
  return names;
}

std::vector<std::int64_t> RetrievalImpl::counts(const data::Batch& batch) const {
  return {static_cast<std::int64_t>(batch.pairs.size())};
}

std::vector<LossTerm> RetrievalImpl::losses(model::PixelBert& model, const data::Batch& batch) {
  const model::Inputs inputs = inputs_of(batch, wanted());
  const auto pairs = static_cast<std::int64_t>(batch.pairs.size());
  const std::int64_t texts = inputs.tokens.size(0) / pairs;
  const torch::Tensor features = model->features(inputs.images);

  torch::Tensor all;  // [pairs, texts], the own text first
  {
    const torch::NoGradGuard no_grad;
    all = scores(model->encode(features.detach(), inputs)).to(torch::kFloat).view({pairs, texts});
  }
  const torch::Tensor negatives = all.narrow(1, 1, texts - 1);
  const torch::Tensor hardest = std::get<1>(negatives.topk(std::min(hard_texts_, texts - 1), 1)) + 1;
  const torch::Tensor first = at::arange(pairs, hardest.options()).mul(texts).unsqueeze(1);
  const torch::Tensor rows = at::cat({first, first + hardest}, 1);  // [pairs, 1 + hard_texts]

  const torch::Tensor learned =
      scores(model->encode(features, chosen_rows(inputs, rows.flatten()))).to(torch::kFloat).view(rows.sizes());
  const torch::Tensor own = at::zeros({pairs}, hardest.options());
  return {{.sum = at::cross_entropy_loss(learned, own, {}, at::Reduction::Sum),
           .correct = all.select(1, 0).gt(negatives.amax(1)).sum().to(torch::kFloat)}};
}

double RetrievalImpl::flops(const model::PixelBertConfig& config, const data::Batch& batch) const {
  model::ForwardFlops flops = model::forward_flops(config, inputs_of(batch, wanted()));
  const double scored = flops.encoder, pairs = static_cast<double>(batch.pairs.size());
  const double texts = static_cast<double>(batch.tokens.size(0)) / pairs;
  flops.encoder = scored * (1 + std::min(static_cast<double>(hard_texts_), texts - 1)) / texts;  // what is trained on
  return scored + flops.with_backward();
}

torch::Tensor RetrievalImpl::scores(const model::Encoded& encoded) {
  return retrieval_->forward(encoded.pair());
}

}  // namespace pixelbert::objectives
