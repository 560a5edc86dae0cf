#include "objectives/objective.h"

namespace pixelbert::objectives {

double Objective::flops(const model::PixelBertConfig& config, const data::Batch& batch) const {
  return model::forward_flops(config, inputs_of(batch, wanted())).with_backward();
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
