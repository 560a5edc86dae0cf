// Turns stored bytes into a backbone's input.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>

#include "core/problems.h"
#include "images/codec.h"

namespace pixelbert::images {

// Returns uint8 [H, W, 3] RGB, as decode_into(). Throws BadImage.
torch::Tensor decode(std::span<const std::uint8_t> encoded);

struct ImageConfig {
  std::int64_t short_side = 800;  // with ResNet-50; 600 and 1000 with ResNeXt-152 (paper, 4.1)
  std::int64_t long_side = 1333;
  std::int64_t size_multiple = 1;
};

template <class Visitor>
void describe(ImageConfig& config, Visitor&& field) {
  field("image.short-side", config.short_side, "images are resized to this shorter side, in pixels");
  field("image.long-side", config.long_side, "unless the longer side would exceed this");
  field("image.size-multiple", config.size_multiple,
        "images are padded to a height and a width that are multiples of this: fewer sizes for cuDNN to prepare for");
}

void find_problems(const ImageConfig& config, Problems& problems);

// Keeps the ratio: scale = min(long_side / max(h, w), short_side / min(h, w)), each side int(x * scale + 0.5), at least
// 1 (mmcv's rule, which SOHO uses).
Size resized(Size size, const ImageConfig& config);

// Returns the size of a batch in which `size` is the largest height and the largest width.
Size padded(Size size, const ImageConfig& config);

// uint8 [H, W, 3] -> uint8 [h, w, 3], bilinear with antialiasing (Pillow's filter, within 2 of 255).
torch::Tensor resize(const torch::Tensor& pixels, Size size);

// RGB mean and deviation of ImageNet in 0..255, with which torchvision's backbones were trained.
constexpr double kMean[3] = {123.675, 116.28, 103.53};
constexpr double kDeviation[3] = {58.395, 57.12, 57.375};

// Writes (pixels - mean) / deviation into `out`, float32 [3, h, w] with channels-last strides: an image's place in a
// padded batch, whose rows may be longer than w.
void normalise_into(const torch::Tensor& pixels, torch::Tensor out);

// All of the above for one image: float32 [1, 3, h, w], channels-last. Throws BadImage.
torch::Tensor load(std::span<const std::uint8_t> encoded, const ImageConfig& config);

}  // namespace pixelbert::images
