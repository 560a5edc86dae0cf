// The images of a batch in the making: each is decoded and resized straight into its place.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "images/image_ops.h"

namespace pixelbert::data {

struct ImageRow {
  std::int32_t data_set;
  std::int64_t image;  // row
  bool operator==(const ImageRow&) const = default;
};

class ImageStack {
 public:
  // With room for `count` images no larger than `largest`, once resized. It grows when that was too little. The pixels
  // are in memory that `device` can read by itself: a GPU, or the CPU.
  explicit ImageStack(const images::ImageConfig& config, std::int64_t count = 0, images::Size largest = {},
                      torch::Device device = torch::kCPU);

  std::int64_t size() const { return std::ssize(rows_); }
  bool ends_with(std::span<const ImageRow> rows) const;

  // Adds an image. Throws BadImage, and then has the same images as before.
  void push(const ImageRow& row, std::span<const std::uint8_t> encoded);
  void shrink_to(std::int64_t size);  // forgets the last images

  // Returns uint8 [I, 3, H, W], channels-last, zero below and right of an image, and [I, 2] int64, height and width of
  // each image. H and W depend only on the images that are there. The stack is used up.
  std::pair<torch::Tensor, torch::Tensor> take();

 private:
  torch::Tensor places(std::int64_t count, images::Size room) const;  // not initialised
  void move_to(std::int64_t count, images::Size room);

  images::ImageConfig config_;
  torch::Device device_;
  images::Size room_;     // of each place
  torch::Tensor pixels_;  // uint8 [places, room_.height, room_.width, 3]
  std::vector<ImageRow> rows_;
  std::vector<images::Size> sizes_;
};

}  // namespace pixelbert::data
