#include "model/pixel_bert.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>

#include "core/check.h"

namespace pixelbert::model {
namespace {

std::vector<std::pair<std::string, torch::Tensor>> trained_parameters(const torch::nn::Module& module, bool backbone) {
  std::vector<std::pair<std::string, torch::Tensor>> named;
  for (const auto& item : module.named_parameters()) {
    if (item.value().requires_grad() && item.key().starts_with("backbone.") == backbone) {
      named.emplace_back(item.key(), item.value());
    }
  }
  return named;
}

std::int64_t wanted_tokens(const Inputs& inputs, std::int64_t all) {
  switch (inputs.wanted) {
    case Wanted::All:
      return all;
    case Wanted::Text:
      return inputs.tokens.size(1);
    case Wanted::Pair:
      return 1;
  }
  fail("unknown value of Wanted");
}

ImageLayout layout_of(const Inputs& inputs) {
  return {.sizes = inputs.image_sizes,
          .of_pair = inputs.image_of_row.to(torch::kCPU),
          .padded = {inputs.images.size(2), inputs.images.size(3)}};
}

}  // namespace

PixelBertImpl::PixelBertImpl(const PixelBertConfig& config) : config_(config) {
  validate(config);
  backbone_ = register_module("backbone", ResNet(config.backbone, config.batch_norm, config.frozen_stages));
  visual_ = register_module("visual", PixelEmbedding(config, backbone_->channels()));
  bert_ = register_module("bert", Bert(config));
}

torch::Tensor PixelBertImpl::features(const torch::Tensor& images) {
  return backbone_->forward(images);
}

PixelBertImpl::Embedded PixelBertImpl::embed(const torch::Tensor& features, const Inputs& inputs) {
  const PixelTokens pixels = visual_->forward(features, layout_of(inputs), inputs.pixel_keys);
  const EmbeddedText text = bert_->embed(inputs.tokens);
  return {.tokens = at::cat({text.tokens, pixels.tokens}, 1),
          .mask = at::cat({inputs.token_mask, pixels.mask}, 1),
          .decoder = text.decoder};
}

Encoded PixelBertImpl::encode(const torch::Tensor& features, const Inputs& inputs) {
  const Embedded embedded = embed(features, inputs);
  return {.hidden = bert_->encode(embedded.tokens, embedded.mask, wanted_tokens(inputs, embedded.tokens.size(1))),
          .mask = embedded.mask,
          .text_tokens = inputs.tokens.size(1),
          .decoder = embedded.decoder};
}

std::vector<torch::Tensor> PixelBertImpl::attentions(const Inputs& inputs) {
  const Embedded embedded = embed(features(inputs.images), inputs);
  return bert_->attentions(embedded.tokens, embedded.mask);
}

std::vector<std::pair<std::string, torch::Tensor>> PixelBertImpl::backbone_parameters() const {
  return trained_parameters(*this, /*backbone=*/true);
}

std::vector<std::pair<std::string, torch::Tensor>> PixelBertImpl::transformer_parameters() const {
  return trained_parameters(*this, /*backbone=*/false);
}

torch::Tensor PixelBertImpl::take_batch_statistics() {
  return backbone_->take_batch_statistics();
}

void PixelBertImpl::update_running_statistics(const torch::Tensor& summed, const torch::Tensor& finite) {
  backbone_->update_running_statistics(summed, finite);
}

ForwardFlops forward_flops(const PixelBertConfig& config, const Inputs& inputs) {
  const ImageLayout layout = layout_of(inputs);
  const ResNetShape backbone = resnet_shape(config.backbone);
  const auto images = static_cast<double>(inputs.images.size(0));
  const auto hidden = static_cast<double>(config.hidden);
  const double intermediate = config.intermediate == 0 ? 4 * hidden : static_cast<double>(config.intermediate);

  const Grid features = backbone_grid(layout.padded);
  const Grid projected = config.visual_order == VisualOrder::PoolConv ? pooled_grid(features) : features;
  const auto kernel_cells = static_cast<double>(config.visual_kernel * config.visual_kernel);
  const double projection =
      2 * static_cast<double>(backbone.channels) * hidden * kernel_cells * static_cast<double>(projected.cells());

  // Tokens of each row.
  const torch::Tensor text = inputs.token_mask.sum(1).to(at::kDouble),
                      all = text + choose_pixels(config, layout, inputs.pixel_keys).mask.sum(1);
  const torch::Tensor wanted = inputs.wanted == Wanted::All    ? all
                               : inputs.wanted == Wanted::Text ? text
                                                               : at::ones_like(text);
  // Key and value; query, output and the two feed-forward matrices; scores and their weighted sum.
  const auto layer = [&](const torch::Tensor& asking) {
    return (2 * hidden * (all * 2 * hidden + asking * (2 * hidden + 2 * intermediate)) + 4 * asking * all * hidden)
        .sum()
        .item<double>();
  };

  const double frozen = resnet_flops(backbone, layout.padded, config.frozen_stages);
  return {.frozen = images * frozen,
          .cnn = images * (resnet_flops(backbone, layout.padded) - frozen + projection),
          .encoder = static_cast<double>(config.layers - 1) * layer(all) + layer(wanted)};
}

}  // namespace pixelbert::model
