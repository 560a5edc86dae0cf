#include "data/batch.h"

namespace pixelbert::data {

Batch Batch::to(torch::Device device) const {
  Batch moved = *this;
  for (torch::Tensor* tensor : {&moved.images, &moved.tokens, &moved.token_mask, &moved.mlm_positions,
                                &moved.mlm_labels, &moved.itm_labels, &moved.answer_scores, &moved.labels}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return moved;
}

}  // namespace pixelbert::data
