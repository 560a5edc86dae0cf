#include "data/batch.h"

#include <ATen/ops/zeros_like.h>

#include "images/image_ops.h"

namespace pixelbert::data {

Batch Batch::to(torch::Device device) const {
  Batch moved = *this;
  for (torch::Tensor* tensor : {&moved.images, &moved.tokens, &moved.token_mask, &moved.mlm_positions,
                                &moved.mlm_labels, &moved.itm_labels, &moved.answer_scores, &moved.labels}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  moved.images = blank_images ? at::zeros_like(moved.images, at::kFloat) : images::normalise(moved.images, image_sizes);
  return moved;
}

}  // namespace pixelbert::data
