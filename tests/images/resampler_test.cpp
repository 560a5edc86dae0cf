#include "images/resampler.h"

#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "images/image_ops.h"
#include "tests/images/encode.h"

namespace pixelbert::images {
namespace {

Size size_of(const torch::Tensor& pixels) {
  return {pixels.size(0), pixels.size(1)};
}

// Resizes `pixels` into a place with `margin` bytes behind each row, and checks that the next image's is untouched.
torch::Tensor resampled(const torch::Tensor& pixels, Size size, std::int64_t margin, const ResampleKernels& kernels) {
  constexpr std::uint8_t kUntouched = 77;
  const std::int64_t row_bytes = 3 * size.width + margin, end = (size.height - 1) * row_bytes + 3 * size.width;
  const torch::Tensor memory = at::full({end + 64}, kUntouched, at::kByte);
  auto* const out = memory.data_ptr<std::uint8_t>();
  Resampler resampler(size_of(pixels), size, out, row_bytes, kernels);
  for (std::int64_t y = 0; y < pixels.size(0); ++y) {
    const torch::Tensor row = pixels[y];
    std::copy_n(row.const_data_ptr<std::uint8_t>(), row.numel(), resampler.row(y));
    resampler.end_row(y);
  }
  EXPECT_TRUE(std::all_of(out + end, out + end + 64, [](std::uint8_t byte) { return byte == kUntouched; }));
  return memory.as_strided({size.height, size.width, 3}, {row_bytes, 3, 1}).clone();
}

TEST(Resampler, GivesTheBytesOfLibTorch) {
  const Size from[] = {{1, 1}, {1, 9}, {7, 2}, {16, 16}, {31, 40}, {48, 64}, {90, 121}, {200, 3}, {3, 333}};
  const Size to[] = {{1, 1}, {1, 8}, {2, 7}, {15, 17}, {40, 53}, {61, 47}, {100, 133}, {11, 10}, {5, 400}};
  at::manual_seed(1);
  for (const Size size : from) {
    const torch::Tensor pixels = at::randint(256, {size.height, size.width, 3}, at::kByte);
    pixels.slice(1, 0, 2).fill_(255);  // weights that sum up to more than 1 would overflow
    for (const Size other : to) {
      const torch::Tensor expected =
          at::_upsample_bilinear2d_aa(pixels.unsqueeze(0).permute({0, 3, 1, 2}), {other.height, other.width}, false)[0]
              .permute({1, 2, 0});
      for (const std::int64_t margin : {0, 30, 100}) {
        for (const ResampleKernels& kernels : {kPortableKernels, fastest_kernels()}) {
          EXPECT_TRUE(at::equal(resampled(pixels, other, margin, kernels), expected))
              << size.height << " x " << size.width << " to " << other.height << " x " << other.width;
        }
      }
    }
  }
}

TEST(DecodeResized, GivesWhatDecodingAndResizingGive) {
  const test::Bytes content = test::gradient(37, 50, 3);
  for (const bool interlaced : {false, true}) {
    const std::vector<test::Bytes> files = {test::png(content, 37, 50, {.interlaced = interlaced, .palette = {}}),
                                            test::jpeg(content, 37, 50)};
    for (const test::Bytes& file : files) {
      const Size stored = probe(file);
      for (const Size size : {stored, Size{20, 27}, Size{74, 100}}) {
        const std::int64_t row_bytes = 3 * size.width + 12;
        const torch::Tensor memory = at::empty({size.height, row_bytes}, at::kByte);
        decode_resized(file, stored, size, memory.data_ptr<std::uint8_t>(), row_bytes);
        const torch::Tensor pixels = memory.narrow(1, 0, 3 * size.width).reshape({size.height, size.width, 3});
        EXPECT_TRUE(at::equal(pixels, resize(decode(file), size)));
      }
    }
  }
}

}  // namespace
}  // namespace pixelbert::images
