#include "train/device_copies.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace pixelbert::train {

DeviceCopies::DeviceCopies(torch::Device device) : device_(device) {
  if (device.is_cpu()) return;
  stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
  copied_.emplace(device.type());
}

data::Batch DeviceCopies::take(const std::vector<data::Batch>& batches, std::size_t i) {
  if (!next_ || next_->at != batches[i].at || next_->micro_batch.index != batches[i].micro_batch.index) {
    start(batches[i]);
  }
  const data::Batch batch = *std::exchange(next_, std::nullopt);
  if (stream_) {
    const c10::Stream reader = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    copied_->block(reader);
    batch.used_on(reader);
  }
  if (i + 1 < batches.size()) start(batches[i + 1]);
  return batch.normalised();
}

void DeviceCopies::start(const data::Batch& batch) {
  const c10::OptionalStreamGuard guard(stream_);
  next_ = batch.copied_to(device_);
  if (stream_) copied_->record(*stream_);
}

}  // namespace pixelbert::train
