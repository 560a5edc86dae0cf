#include "images/image_ops.h"

#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace pixelbert::images {
namespace {

// The three channels repeat; 48 values are whole pixels and whole vectors of any width, so the inner loop is
// vectorised.
class RowNormaliser {
 public:
  RowNormaliser() {
    for (std::int64_t i = 0; i < kRun; ++i) {
      scale_[i] = static_cast<float>(1 / kDeviation[i % 3]);
      shift_[i] = static_cast<float>(-kMean[i % 3] / kDeviation[i % 3]);
    }
  }

  void row(const std::uint8_t* __restrict from, float* __restrict to, std::int64_t values) const {
    for (; values >= kRun; values -= kRun, from += kRun, to += kRun) {
      for (std::int64_t i = 0; i < kRun; ++i) to[i] = static_cast<float>(from[i]) * scale_[i] + shift_[i];
    }
    for (std::int64_t i = 0; i < values; ++i) to[i] = static_cast<float>(from[i]) * scale_[i] + shift_[i];
  }

 private:
  static constexpr std::int64_t kRun = 48;
  float scale_[kRun];
  float shift_[kRun];
};

}  // namespace

torch::Tensor decode(std::span<const std::uint8_t> encoded) {
  const Size size = probe(encoded);
  torch::Tensor pixels = at::empty({size.height, size.width, 3}, at::kByte);
  decode_into(encoded, size, pixels.data_ptr<std::uint8_t>());
  return pixels;
}

void find_problems(const ImageConfig& config, Problems& problems) {
  constexpr std::int64_t kMostSide = 65535;  // JPEG's
  problems.at_least("image.short-side", config.short_side, 1);
  problems.between("image.long-side", config.long_side, 1, kMostSide);
  problems.require(
      config.long_side >= config.short_side,
      fmt::format("--image.long-side {} is less than --image.short-side {}", config.long_side, config.short_side));
  problems.between("image.size-multiple", config.size_multiple, 1, kMostSide);
}

Size resized(Size size, const ImageConfig& config) {
  const auto longer = static_cast<double>(std::max(size.height, size.width));
  const auto shorter = static_cast<double>(std::min(size.height, size.width));
  const double scale =
      std::min(static_cast<double>(config.long_side) / longer, static_cast<double>(config.short_side) / shorter);
  const auto side = [scale](std::int64_t x) {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(x) * scale + 0.5));
  };
  return {side(size.height), side(size.width)};
}

Size padded(Size size, const ImageConfig& config) {
  const auto up = [multiple = config.size_multiple](std::int64_t x) {
    return (x + multiple - 1) / multiple * multiple;
  };
  return {up(size.height), up(size.width)};
}

torch::Tensor resize(const torch::Tensor& pixels, Size size) {
  if (pixels.size(0) == size.height && pixels.size(1) == size.width) return pixels;
  // [H, W, 3] seen as [1, 3, H, W] is channels-last already, for which LibTorch has its fastest uint8 kernel. The batch
  // dimension is added first: after the permutation, its stride would hide that from LibTorch.
  const torch::Tensor view = pixels.unsqueeze(0).permute({0, 3, 1, 2});
  const torch::Tensor small = at::_upsample_bilinear2d_aa(view, {size.height, size.width}, /*align_corners=*/false);
  return small.squeeze(0).permute({1, 2, 0}).contiguous();
}

void normalise_into(const torch::Tensor& pixels, torch::Tensor out) {
  const std::int64_t height = pixels.size(0), width = pixels.size(1);
  PB_CHECK(pixels.is_contiguous() && pixels.scalar_type() == at::kByte && pixels.size(2) == 3,
           "normalise_into: expected contiguous uint8 [h, w, 3]");
  PB_CHECK(out.scalar_type() == at::kFloat && out.dim() == 3 && out.size(0) == 3 && out.size(1) == height &&
               out.size(2) == width && out.stride(0) == 1 && out.stride(2) == 3,
           "normalise_into: expected float32 [3, {}, {}] with channels-last strides", height, width);

  const RowNormaliser normalise;
  const std::uint8_t* from = pixels.data_ptr<std::uint8_t>();
  float* to = out.data_ptr<float>();
  for (std::int64_t y = 0; y < height; ++y) normalise.row(from + y * 3 * width, to + y * out.stride(1), 3 * width);
}

torch::Tensor load(std::span<const std::uint8_t> encoded, const ImageConfig& config) {
  const torch::Tensor pixels = decode(encoded);
  const torch::Tensor small = resize(pixels, resized({pixels.size(0), pixels.size(1)}, config));
  const torch::Tensor image = at::empty({1, 3, small.size(0), small.size(1)},
                                        at::TensorOptions().memory_format(at::MemoryFormat::ChannelsLast));
  normalise_into(small, image[0]);
  return image;
}

}  // namespace pixelbert::images
