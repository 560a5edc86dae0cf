#include "data/image_stack.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace pixelbert::data {
namespace {

images::Size larger(images::Size a, images::Size b) {
  return {std::max(a.height, b.height), std::max(a.width, b.width)};
}

}  // namespace

ImageStack::ImageStack(const images::ImageConfig& config, std::int64_t count, images::Size largest,
                       torch::Device device)
    : config_(config), device_(device), room_(images::padded(largest, config)), pixels_(places(count, room_)) {}

bool ImageStack::ends_with(std::span<const ImageRow> rows) const {
  return rows_.size() >= rows.size() && std::equal(rows.rbegin(), rows.rend(), rows_.rbegin());
}

void ImageStack::push(const ImageRow& row, std::span<const std::uint8_t> encoded) {
  const images::Size stored = images::probe(encoded), resized = images::resized(stored, config_);
  const images::Size room = larger(room_, images::padded(resized, config_));
  if (size() == pixels_.size(0) || room != room_) move_to(std::max(size() + 1, pixels_.size(0)), room);
  images::decode_resized(encoded, stored, resized, pixels_[size()].data_ptr<std::uint8_t>(), 3 * room_.width);
  rows_.push_back(row);
  sizes_.push_back(resized);
}

void ImageStack::shrink_to(std::int64_t size) {
  rows_.resize(static_cast<std::size_t>(size));
  sizes_.resize(static_cast<std::size_t>(size));
}

std::pair<torch::Tensor, torch::Tensor> ImageStack::take() {
  images::Size largest;
  torch::Tensor sizes = at::empty({size(), 2}, at::kLong);
  for (std::int64_t i = 0; i < size(); ++i) {
    largest = larger(largest, sizes_[i]);
    sizes[i][0] = sizes_[i].height;
    sizes[i][1] = sizes_[i].width;
  }
  const images::Size room = images::padded(largest, config_);
  if (size() != pixels_.size(0) || room != room_) move_to(size(), room);  // a bad image had made it larger
  for (std::int64_t i = 0; i < size(); ++i) {
    const torch::Tensor place = pixels_[i];
    const auto [height, width] = sizes_[i];
    if (height < room.height) place.slice(0, height).zero_();
    if (width < room.width) place.slice(0, 0, height).slice(1, width).zero_();
  }
  return {pixels_.permute({0, 3, 1, 2}), sizes};
}

torch::Tensor ImageStack::places(std::int64_t count, images::Size room) const {
  return at::empty({count, room.height, room.width, 3}, at::TensorOptions(at::kByte).pinned_memory(device_.is_cuda()));
}

void ImageStack::move_to(std::int64_t count, images::Size room) {
  const torch::Tensor pixels = places(count, room);
  for (std::int64_t i = 0; i < size(); ++i) {
    const auto [height, width] = sizes_[i];
    const auto part = [&](const torch::Tensor& place) { return place.narrow(0, 0, height).narrow(1, 0, width); };
    part(pixels[i]).copy_(part(pixels_[i]));
  }
  pixels_ = pixels;
  room_ = room;
}

}  // namespace pixelbert::data
