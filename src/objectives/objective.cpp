#include "objectives/objective.h"

namespace pixelbert::objectives {

double Objective::flops(const model::PixelBertConfig& config, const data::Batch& batch) const {
  return model::forward_flops(config, inputs_of(batch, wanted())).with_backward();
}

Trained trained(const model::PixelBert& model, const Objective& objective) {
  Trained trained;
  const auto add = [&](const std::string& name, const torch::Tensor& parameter) {
    trained.names.push_back(name);
    trained.parameters.push_back(parameter);
  };
  for (const auto& [name, parameter] : model->backbone_parameters()) add(name, parameter);
  trained.of_backbone = std::ssize(trained.parameters);
  for (const auto& [name, parameter] : model->transformer_parameters()) add(name, parameter);
  for (const auto& item : objective.named_parameters()) add(item.key(), item.value());
  return trained;
}

model::Inputs inputs_of(const data::Batch& batch, model::Wanted wanted) {
  return {.images = batch.images,
          .image_sizes = batch.image_sizes,
          .image_of_row = batch.image_of_row,
          .tokens = batch.tokens,
          .token_mask = batch.token_mask,
          .pixel_keys = batch.pixel_keys,
          .wanted = wanted};
}

}  // namespace pixelbert::objectives
