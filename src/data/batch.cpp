#include "data/batch.h"

#include <ATen/ops/zeros_like.h>

#include "images/image_ops.h"

namespace pixelbert::data {
namespace {

// Returns the batch with f(tensor) for each tensor that the device needs.
template <class F>
Batch with_each(Batch batch, F f) {
  for (torch::Tensor* tensor : {&batch.images, &batch.tokens, &batch.token_mask, &batch.mlm_positions,
                                &batch.mlm_labels, &batch.itm_labels, &batch.answer_scores, &batch.labels}) {
    if (tensor->defined()) *tensor = f(*tensor);
  }
  return batch;
}

}  // namespace

Batch Batch::to(torch::Device device) const {
  Batch moved = with_each(*this, [&](const torch::Tensor& tensor) {
    return tensor.to(device, /*non_blocking=*/device.is_cuda() && tensor.is_pinned());
  });
  moved.images = blank_images ? at::zeros_like(moved.images, at::kFloat) : images::normalise(moved.images, image_sizes);
  return moved;
}

Batch Batch::pinned() const {
  return with_each(*this, [](const torch::Tensor& tensor) { return tensor.pin_memory(); });
}

}  // namespace pixelbert::data
