// Resizes an image while it is decoded, so that neither the whole image nor one resized in only one direction is in
// memory (unless its format is interlaced or progressive): bilinear with antialiasing, Pillow's filter in LibTorch's
// fixed-point arithmetic (upsample_bilinear2d_aa of uint8), bit for bit.
#pragma once

#include <cstdint>
#include <vector>

#include "images/codec.h"
#include "images/row_sink.h"

namespace pixelbert::images {

// Which input positions make an output position, and how much of each: weights sum up to about 2^precision. Taps come
// in pairs, and those that a position does not need have the weight 0.
struct Taps {
  Taps(std::int64_t from, std::int64_t to);

  std::int64_t positions;                  // `to`, rounded up to a multiple of 8
  std::vector<std::int32_t> first;         // of each position, its first input
  std::int64_t pairs = 1;                  // of each position
  std::vector<std::int16_t> weights = {};  // [pairs, positions, 2]
  int precision = 0;
};

// The two passes, for a kind of processor. They write up to 31 bytes behind `out`.
struct ResampleKernels {
  // Resizes a row to taps.positions pixels. Reads up to 2 * taps.pairs pixels and 16 bytes behind the row.
  void (*across)(const std::uint8_t* row, const Taps& taps, std::uint8_t* out);
  // Adds up the `bytes` bytes of rows[0 .. 2 * taps.pairs) for the output row `y`. Reads up to 31 bytes behind each.
  void (*down)(const std::uint8_t* const* rows, const Taps& taps, std::int64_t y, std::int64_t bytes,
               std::uint8_t* out);
};

extern const ResampleKernels kPortableKernels;
const ResampleKernels& fastest_kernels();  // of this processor

class Resampler final : public RowSink {
 public:
  // Writes `to.height` rows of 3 * to.width bytes, `row_bytes` apart, to `out`.
  Resampler(Size from, Size to, std::uint8_t* out, std::int64_t row_bytes,
            const ResampleKernels& kernels = fastest_kernels());

  std::uint8_t* row(std::int64_t) override { return input_.data(); }
  void end_row(std::int64_t y) override;
  bool holds_all() const override { return false; }

 private:
  std::uint8_t* narrow_row(std::int64_t y) { return narrow_.data() + y % kept_ * narrow_bytes_; }

  ResampleKernels kernels_;
  Taps across_, down_;
  Size from_, to_;
  std::uint8_t* out_;
  std::int64_t row_bytes_;
  std::int64_t next_ = 0;             // output row
  std::int64_t kept_, narrow_bytes_;  // rows of the output's width that an output row may need, and the bytes of one
  std::vector<std::uint8_t> input_, narrow_, last_;
  std::vector<const std::uint8_t*> rows_;
};

}  // namespace pixelbert::images
