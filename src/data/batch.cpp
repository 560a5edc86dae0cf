#include "data/batch.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

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

TokenRows token_rows(const std::vector<std::vector<std::int64_t>>& texts, std::int64_t pad) {
  std::size_t longest = 0;
  for (const auto& text : texts) longest = std::max(longest, text.size());
  const auto length = static_cast<std::ptrdiff_t>(longest);
  TokenRows rows{.tokens = at::full({std::ssize(texts), length}, pad, at::kLong),
                 .mask = at::zeros({std::ssize(texts), length}, at::kBool)};
  auto* token = rows.tokens.mutable_data_ptr<std::int64_t>();
  auto* mask = rows.mask.mutable_data_ptr<bool>();
  for (const auto& text : texts) {
    std::ranges::copy(text, token);
    std::fill_n(mask, text.size(), true);
    token += length;
    mask += length;
  }
  return rows;
}

}  // namespace pixelbert::data
