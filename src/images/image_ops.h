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

template <class Field>
void describe(ImageConfig& config, Field&& field) {
  field("image.short-side", config.short_side, "images are resized to this shorter side, in pixels");
  field("image.long-side", config.long_side,
        "the longer side has at most this many pixels, even if the shorter one then has fewer");
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

// Both at once, row by row: writes size.height rows of 3 * size.width bytes, `row_bytes` apart, to `out`. `stored` is
// the result of probe(). Throws BadImage, and has then written some of it.
void decode_resized(std::span<const std::uint8_t> encoded, Size stored, Size size, std::uint8_t* out,
                    std::int64_t row_bytes);

// RGB mean and deviation of ImageNet in 0..255, with which torchvision's backbones were trained.
constexpr double kMean[3] = {123.675, 116.28, 103.53};
constexpr double kDeviation[3] = {58.395, 57.12, 57.375};

// Returns the backbone's input for a batch of images, (pixels - mean) / deviation: float32 [I, 3, H, W], channels-last,
// on the device of `pixels`. `pixels` are uint8 [I, 3, H, W], channels-last; image i fills the first sizes[i] =
// (height, width) rows and columns of its place, and what is below or right of it becomes zero. `sizes` [I, 2] int64,
// on the CPU.
torch::Tensor normalise(const torch::Tensor& pixels, const torch::Tensor& sizes);

// Returns `image` [1, 3, h, w] with zeros below and right of it, up to `size`.
torch::Tensor pad(const torch::Tensor& image, Size size);

// All of the above for one image: float32 [1, 3, h, w], channels-last. Throws BadImage.
torch::Tensor load(std::span<const std::uint8_t> encoded, const ImageConfig& config);

}  // namespace pixelbert::images
