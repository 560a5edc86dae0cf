#include "images/image_ops.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "images/resampler.h"

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

torch::Tensor normalise_on_cpu(const torch::Tensor& pixels, const torch::Tensor& sizes) {
  const std::int64_t height = pixels.size(2), row = 3 * pixels.size(3);  // values
  torch::Tensor images = at::empty_like(pixels, at::kFloat);
  const auto* const from = pixels.data_ptr<std::uint8_t>();
  auto* const to = images.mutable_data_ptr<float>();
  const auto* const size = sizes.data_ptr<std::int64_t>();
  const RowNormaliser normaliser;
  at::parallel_for(0, pixels.size(0) * height, /*grain_size=*/64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      const std::int64_t image = y / height;
      const std::int64_t values = y % height < size[2 * image] ? 3 * size[2 * image + 1] : 0;
      normaliser.row(from + y * row, to + y * row, values);
      std::fill_n(to + y * row + values, row - values, 0.0F);
    }
  });
  return images;
}

// Without a copy from the host, which would wait for the device.
torch::Tensor normalise_on_device(const torch::Tensor& pixels, const torch::Tensor& sizes) {
  const torch::Tensor images = pixels.to(at::kFloat);
  for (std::int64_t c = 0; c < 3; ++c) images.select(1, c).mul_(1 / kDeviation[c]).add_(-kMean[c] / kDeviation[c]);
  const auto size = sizes.accessor<std::int64_t, 2>();
  for (std::int64_t i = 0; i < pixels.size(0); ++i) {
    images[i].slice(1, size[i][0]).zero_();
    images[i].slice(2, size[i][1]).zero_();
  }
  return images;
}

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
  const Size from{pixels.size(0), pixels.size(1)};
  if (from == size) return pixels;
  const torch::Tensor image = pixels.contiguous();
  torch::Tensor resized = at::empty({size.height, size.width, 3}, at::kByte);
  Resampler resampler(from, size, resized.data_ptr<std::uint8_t>(), 3 * size.width);
  for (std::int64_t y = 0; y < from.height; ++y) {
    std::copy_n(image.const_data_ptr<std::uint8_t>() + y * 3 * from.width, 3 * from.width, resampler.row(y));
    resampler.end_row(y);
  }
  return resized;
}

void decode_resized(std::span<const std::uint8_t> encoded, Size stored, Size size, std::uint8_t* out,
                    std::int64_t row_bytes) {
  if (stored == size) {
    RowsInMemory rows(out, row_bytes);
    decode(encoded, stored, rows);
  } else {
    Resampler rows(stored, size, out, row_bytes);
    decode(encoded, stored, rows);
  }
}

torch::Tensor normalise(const torch::Tensor& pixels, const torch::Tensor& sizes) {
  PB_CHECK(pixels.scalar_type() == at::kByte && pixels.dim() == 4 && pixels.size(1) == 3 &&
               pixels.is_contiguous(at::MemoryFormat::ChannelsLast),
           "normalise: expected uint8 [I, 3, H, W], channels-last");
  PB_CHECK(sizes.is_cpu() && sizes.scalar_type() == at::kLong && sizes.is_contiguous() && sizes.dim() == 2 &&
               sizes.size(0) == pixels.size(0) && sizes.size(1) == 2,
           "normalise: expected the sizes of {} images, [I, 2] int64 on the CPU", pixels.size(0));
  return pixels.is_cpu() ? normalise_on_cpu(pixels, sizes) : normalise_on_device(pixels, sizes);
}

torch::Tensor pad(const torch::Tensor& image, Size size) {
  if (image.size(2) == size.height && image.size(3) == size.width) return image;
  torch::Tensor padded =
      at::zeros({1, 3, size.height, size.width}, image.options()).contiguous(at::MemoryFormat::ChannelsLast);
  padded.narrow(2, 0, image.size(2)).narrow(3, 0, image.size(3)).copy_(image);
  return padded;
}

torch::Tensor load(std::span<const std::uint8_t> encoded, const ImageConfig& config) {
  const Size stored = probe(encoded), size = resized(stored, config);
  torch::Tensor pixels = at::empty({1, size.height, size.width, 3}, at::kByte);
  decode_resized(encoded, stored, size, pixels.data_ptr<std::uint8_t>(), 3 * size.width);
  return normalise(pixels.permute({0, 3, 1, 2}), at::tensor({size.height, size.width}, at::kLong).view({1, 2}));
}

}  // namespace pixelbert::images
