// From stored bytes to the pixels a backbone sees.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <string>

#include "core/check.h"

namespace pixelbert::images {

// Bytes that are no picture, or one too broken to use. `reason` is a metric label: "truncated", "not-an-image", ...
struct BadImage : Error {
  BadImage(std::string reason_label, const std::string& message) : Error(message), reason(std::move(reason_label)) {}
  std::string reason;
};

struct Size {
  std::int64_t height = 0;
  std::int64_t width = 0;
  bool operator==(const Size&) const = default;
};

// Reads only the header. BadImage when it is neither JPEG nor PNG (by content: file names lie).
Size probe(std::span<const std::uint8_t> encoded);

// uint8 [H, W, 3] RGB. Grey is replicated, palettes are looked up, alpha is dropped and 16 bits are cut to 8 as Pillow's
// convert("RGB") does; Adobe CMYK is inverted first. EXIF rotation is ignored, as Pillow does (facts 5.7).
torch::Tensor decode(std::span<const std::uint8_t> encoded);

struct ImageConfig {
  std::int64_t short_side = 800;   // facts 2.2: 800/1333 for ResNet-50, 600/1000 for ResNeXt-152
  std::int64_t long_side = 1333;
};

// Ratio kept, shorter side `short_side` unless the longer would exceed `long_side`: scale = min(long / max(h, w),
// short / min(h, w)), each side int(x * scale + 0.5), at least 1 (facts 5.7).
Size resized(Size size, const ImageConfig& config);

// uint8 [H, W, 3] -> uint8 [h, w, 3], bilinear with antialiasing (Pillow's filter; differs by at most 2 of 255).
torch::Tensor resize(const torch::Tensor& pixels, Size size);

// RGB mean and deviation of the torchvision backbones, in 0..255 (facts 2.2).
constexpr double kMean[3] = {123.675, 116.28, 103.53};
constexpr double kDeviation[3] = {58.395, 57.12, 57.375};

// Writes (pixels - mean) / deviation into `out`, float32 [3, h, w] with channels-last strides.
void normalise_into(const torch::Tensor& pixels, torch::Tensor out);

}  // namespace pixelbert::images
