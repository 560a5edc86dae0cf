// Where a decoder puts an image.
#pragma once

#include <cstdint>

namespace pixelbert::images {

// Takes rows from the first to the last. A decoder that fails leaves it half filled.
class RowSink {
 public:
  virtual ~RowSink() = default;

  // Returns where the decoder writes row `y`: 3 * width bytes, RGB.
  virtual std::uint8_t* row(std::int64_t y) = 0;
  // Row `y` is complete, and the decoder no longer uses row(y).
  virtual void end_row(std::int64_t y) = 0;
  // Can all rows be written before the first ends, as in an interlaced image?
  virtual bool holds_all() const = 0;
};

// Rows at equal distances in memory.
class RowsInMemory final : public RowSink {
 public:
  RowsInMemory(std::uint8_t* rgb, std::int64_t row_bytes) : rgb_(rgb), row_bytes_(row_bytes) {}
  std::uint8_t* row(std::int64_t y) override { return rgb_ + y * row_bytes_; }
  void end_row(std::int64_t) override {}
  bool holds_all() const override { return true; }

 private:
  std::uint8_t* rgb_;
  std::int64_t row_bytes_;
};

}  // namespace pixelbert::images
