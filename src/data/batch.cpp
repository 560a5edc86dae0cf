#include "data/batch.h"

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
  return with_each(*this, [&](const torch::Tensor& tensor) {
    return tensor.to(device, /*non_blocking=*/device.is_cuda() && tensor.is_pinned());
  });
}

Batch Batch::pinned() const {
  return with_each(*this, [](const torch::Tensor& tensor) { return tensor.pin_memory(); });
}

}  // namespace pixelbert::data
