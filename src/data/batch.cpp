#include "data/batch.h"

#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>

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

Batch Batch::copied_to(torch::Device device) const {
  return with_each(*this, [&](const torch::Tensor& tensor) {
    return tensor.to(device, /*non_blocking=*/device.is_cuda() && tensor.is_pinned());
  });
}

Batch Batch::normalised() const {
  Batch batch = *this;
  batch.images = blank_images ? at::zeros_like(images, at::kFloat) : images::normalise(images, image_sizes);
  return batch;
}

void Batch::used_on(c10::Stream stream) const {
  const c10::impl::VirtualGuardImpl device(stream.device_type());
  with_each(*this, [&](const torch::Tensor& tensor) {
    device.recordDataPtrOnStream(tensor.storage().data_ptr(), stream);
    return tensor;
  });
}

Batch Batch::pinned() const {
  return with_each(*this, [](const torch::Tensor& tensor) { return tensor.pin_memory(); });
}

}  // namespace pixelbert::data
