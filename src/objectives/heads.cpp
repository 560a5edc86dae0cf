#include "objectives/heads.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>

#include "model/autocast.h"

namespace pixelbert::objectives {
namespace {

torch::Tensor at_least_float32(const torch::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

}  // namespace

MlmHeadImpl::MlmHeadImpl(std::int64_t hidden, std::int64_t vocabulary)
    : dense_(*this, "predictions.transform.dense", hidden, hidden),
      norm_(*this, "predictions.transform.LayerNorm", hidden) {
  bias_ = model::named_group(*this, "predictions").register_parameter("bias", at::zeros({vocabulary}));
}

torch::Tensor MlmHeadImpl::forward(const torch::Tensor& hidden, const torch::Tensor& word_embeddings) {
  return at::linear(norm_(at::gelu(dense_(hidden))), word_embeddings, bias_);
}

ScoreHeadImpl::ScoreHeadImpl(std::int64_t hidden) {
  weight_ = register_parameter("weight", model::normal_parameter({1, hidden}));
  bias_ = register_parameter("bias", at::zeros({1}));
}

torch::Tensor ScoreHeadImpl::forward(const torch::Tensor& pair) {
  const model::Autocast off(pair.device().type(), model::Precision::Float32);
  return at::linear(at_least_float32(pair), weight_, bias_).squeeze(1);
}

ClassHeadImpl::ClassHeadImpl(std::int64_t in, std::int64_t inner, std::int64_t classes, double dropout)
    : dense_(*this, "dense", in, inner), dropout_{dropout}, classifier_(*this, "classifier", inner, classes) {}

torch::Tensor ClassHeadImpl::forward(const torch::Tensor& x) {
  const torch::Tensor inner = dropout_(at::relu(dense_(x)), is_training());
  const model::Autocast off(x.device().type(), model::Precision::Float32);
  return classifier_(at_least_float32(inner));
}

}  // namespace pixelbert::objectives
