#include "model/bert.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>

#include "core/check.h"
#include "model/row_multiple.h"

namespace pixelbert::model {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

std::int64_t intermediate_size(const PixelBertConfig& config) {
  return config.intermediate == 0 ? 4 * config.hidden : config.intermediate;
}

torch::Tensor attention_weights(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& mask) {
  const torch::Tensor scores = at::matmul(query, key.transpose(2, 3)) * (1 / std::sqrt(query.size(3)));
  return scores.masked_fill(mask.logical_not(), kMinusInfinity).softmax(-1);
}

// [B, S] -> [B, 1, 1, S]: the same for all heads and queries.
torch::Tensor attend_to(const torch::Tensor& mask) {
  return mask.unsqueeze(1).unsqueeze(1);
}

// Returns x's product with each layer. Under autocast it is one product, for which x is cast once; in float32 copying
// the weights together would cost more than that saves.
std::vector<torch::Tensor> products(const torch::Tensor& x, const std::vector<const Linear*>& layers) {
  const c10::DeviceType device = x.device().type();
  std::vector<torch::Tensor> weights, biases, results;
  if (!at::autocast::is_autocast_enabled(device)) {
    for (const Linear* layer : layers) results.push_back((*layer)(x));
    return results;
  }
  for (const Linear* layer : layers) {
    weights.push_back(layer->weight.to(at::autocast::get_autocast_dtype(device)));
    biases.push_back(layer->bias.to(at::autocast::get_autocast_dtype(device)));
  }
  return at::linear(x, at::cat(weights), at::cat(biases)).chunk(std::ssize(layers), -1);
}

// Hands out the word embeddings twice: to embed with and to decode with. Their gradient is the decoder's, which has
// their size, with the embedding's added in place; on a CPU the latter has only the rows of the batch's words. The sum
// that LibTorch makes takes two more matrices of the vocabulary's size.
struct TwoUses : torch::autograd::Function<TwoUses> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const torch::Tensor& words) {
    context->set_materialize_grads(false);
    return {words.detach(), words.detach()};
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list gradients) {
    torch::Tensor &read = gradients[0], &decoded = gradients[1];
    // Sum repeated words first; otherwise the result depends on how the batch is split.
    if (read.defined() && read.is_sparse()) read = read.coalesce();
    if (!decoded.defined()) return {read};
    if (read.defined()) decoded.add_(read);
    return {decoded};
  }
};

}  // namespace

BertLayerImpl::BertLayerImpl(const PixelBertConfig& config)
    : heads_(config.heads),
      dropout_{config.dropout},
      query_(*this, "attention.self.query", config.hidden, config.hidden),
      key_(*this, "attention.self.key", config.hidden, config.hidden),
      value_(*this, "attention.self.value", config.hidden, config.hidden),
      attention_output_(*this, "attention.output.dense", config.hidden, config.hidden),
      attention_norm_(*this, "attention.output.LayerNorm", config.hidden),
      intermediate_(*this, "intermediate.dense", config.hidden, intermediate_size(config)),
      output_(*this, "output.dense", intermediate_size(config), config.hidden),
      output_norm_(*this, "output.LayerNorm", config.hidden) {}

torch::Tensor BertLayerImpl::split_heads(const torch::Tensor& x) const {
  return x.unflatten(2, {heads_, -1}).transpose(1, 2);
}

torch::Tensor BertLayerImpl::attention(const torch::Tensor& x, const torch::Tensor& mask) const {
  const torch::Tensor query = split_heads(query_(x)), key = split_heads(key_(x));
  return attention_weights(query, key, mask);
}

double BertLayerImpl::attention_dropout() const {
  return is_training() ? dropout_.probability : 0;
}

BertLayerImpl::Projected BertLayerImpl::project(const torch::Tensor& asking, const torch::Tensor& x) const {
  if (asking.is_same(x)) {
    const std::vector<torch::Tensor> all = products(x, {&query_, &key_, &value_});
    return {all[0], all[1], all[2]};
  }
  const std::vector<torch::Tensor> of_all = products(x, {&key_, &value_});
  return {query_(asking), of_all[0], of_all[1]};
}

torch::Tensor BertLayerImpl::attend(const Projected& projected, const torch::Tensor& mask) const {
  const torch::Tensor query = split_heads(projected.query), key = split_heads(projected.key),
                      value = split_heads(projected.value);
  torch::Tensor y;
  if (query.is_cpu() && attention_dropout() > 0) {
    // On the CPU LibTorch's fused attention has no dropout; it would take a reference path in float32, which is slower.
    y = at::matmul(dropout_(attention_weights(query, key, mask), /*training=*/true), value);
  } else {
    y = at::scaled_dot_product_attention(query, key, value, mask, attention_dropout());
  }
  return y.transpose(1, 2).flatten(2);
}

torch::Tensor BertLayerImpl::forward(const torch::Tensor& x, const torch::Tensor& mask, std::int64_t wanted) {
  const torch::Tensor asking = wanted < x.size(1) ? x.narrow(1, 0, wanted) : x;
  return after_attention(asking, attend(project(asking, x), mask));
}

torch::Tensor BertLayerImpl::forward(const torch::Tensor& x, const Packing& all, const Packing& wanted) {
  const bool some = wanted.offsets.back() < all.offsets.back();
  const torch::Tensor asking = some ? take(x, first_rows(all, wanted)) : x;
  const auto [query, key, value] = project(asking, x);
  if (query.scalar_type() != at::kBFloat16) {
    return after_attention(asking, packed_attention(query, key, value, heads_, all, wanted, attention_dropout()));
  }
  // In bfloat16 oneDNN would compile the products of packed_attention() for each length of a sample. Attention is a
  // small part of a layer's work: it is computed with padding.
  const auto padded = [](const torch::Tensor& y, const Packing& packing) {
    return put(y, packing.rows).view({packing.mask.size(0), packing.mask.size(1), y.size(1)});
  };
  const torch::Tensor attended =
      attend({padded(query, wanted), padded(key, all), padded(value, all)}, attend_to(all.mask));
  return after_attention(asking, take(attended.flatten(0, 1), wanted.rows));
}

torch::Tensor BertLayerImpl::after_attention(const torch::Tensor& x, const torch::Tensor& attended) {
  const auto drop = [this](const torch::Tensor& y) { return dropout_(y, is_training()); };
  const torch::Tensor y = attention_norm_(x + drop(attention_output_(attended)));
  return output_norm_(y + drop(output_(at::gelu(intermediate_(y)))));
}

BertImpl::BertImpl(const PixelBertConfig& config)
    : dropout_{config.dropout}, embedding_norm_(*this, "embeddings.LayerNorm", config.hidden) {
  word_embeddings_ = named_group(*this, "embeddings.word_embeddings")
                         .register_parameter("weight", normal_parameter({config.vocabulary, config.hidden}));
  position_embeddings_ = named_group(*this, "embeddings.position_embeddings")
                             .register_parameter("weight", normal_parameter({config.positions, config.hidden}));
  torch::nn::Module& encoder = named_group(*this, "encoder.layer");
  for (std::int64_t i = 0; i < config.layers; ++i) {
    layers_.push_back(encoder.register_module(std::to_string(i), BertLayer(config)));
  }
}

EmbeddedText BertImpl::embed(const torch::Tensor& tokens) {
  const std::int64_t length = tokens.size(1);
  PB_CHECK(length <= position_embeddings_.size(0),
           "a text of the batch has {} tokens, but the model has {} positions: "
           "lower --text.max-tokens",
           length, position_embeddings_.size(0));
  const std::vector<torch::Tensor> uses = TwoUses::apply(word_embeddings_);
  // On GPUs a sparse gradient would be summed in no fixed order.
  const bool sparse = word_embeddings_.is_cpu();
  const torch::Tensor words = at::embedding(uses[0], tokens, /*padding_idx=*/-1, /*scale_grad_by_freq=*/false, sparse);
  return {.tokens = dropout_(embedding_norm_(words + position_embeddings_.narrow(0, 0, length)), is_training()),
          .decoder = uses[1]};
}

torch::Tensor BertImpl::encode(const torch::Tensor& x, const torch::Tensor& mask, std::int64_t wanted) {
  if (x.is_cpu()) return encode_packed(x, mask, wanted);
  torch::Tensor y = x;
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) y = layers_[i]->forward(y, attend_to(mask), y.size(1));
  return layers_.back()->forward(y, attend_to(mask), wanted);
}

torch::Tensor BertImpl::encode_packed(const torch::Tensor& x, const torch::Tensor& mask, std::int64_t wanted) {
  const std::int64_t multiple = row_multiple(mask.numel());
  const Packing all = pack(mask, multiple), last = pack(mask.narrow(1, 0, wanted), multiple);
  torch::Tensor y = take(x.flatten(0, 1), all.rows);
  for (std::size_t i = 0; i + 1 < layers_.size(); ++i) y = layers_[i]->forward(y, all, all);
  y = layers_.back()->forward(y, all, last);
  return put(y, last.rows).view({x.size(0), wanted, x.size(2)});
}

std::vector<torch::Tensor> BertImpl::attentions(const torch::Tensor& x, const torch::Tensor& mask) {
  std::vector<torch::Tensor> attentions;
  torch::Tensor y = x;
  for (BertLayer& layer : layers_) {
    attentions.push_back(layer->attention(y, attend_to(mask)));
    y = layer->forward(y, attend_to(mask), y.size(1));
  }
  return attentions;
}

}  // namespace pixelbert::model
