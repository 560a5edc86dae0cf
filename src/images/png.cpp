#include "images/png.h"

#include <png.h>

#include <csetjmp>
#include <cstring>
#include <vector>

#include "core/bad_sample.h"

namespace pixelbert::images {
namespace {

// libpng's simplified interface is not used: it applies gamma and blends alpha, which Pillow does not.
//
// libpng reports errors by longjmp, which must not jump over a destructor: everything with one is a member or belongs
// to the callers of header() and read().
class PngReader {
 public:
  explicit PngReader(std::span<const std::uint8_t> encoded) : rest_(encoded) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    PB_CHECK(info_, "libpng: cannot make a reader");
    png_set_read_fn(png_, this, on_read);
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  Header header() {
    if (setjmp(png_jmpbuf(png_)) != 0) throw_bad();
    // Profiles and texts are not needed, and could expand to far more than the file; their checksums are checked all
    // the same, as in Pillow.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png_, info_);
    const Size size{png_get_image_height(png_, info_), png_get_image_width(png_, info_)};
    const int bits = png_get_channels(png_, info_) * png_get_bit_depth(png_, info_);
    constexpr std::int64_t kDeflateRatio = 1032;  // at most: bytes from one byte
    return {size, static_cast<std::uint64_t>(size.height * size.width * bits / 8 / kDeflateRatio)};
  }

  void read(std::int64_t height, RowSink& sink) {
    if (setjmp(png_jmpbuf(png_)) != 0) throw_bad();
    png_set_palette_to_rgb(png_);
    png_set_expand_gray_1_2_4_to_8(png_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    png_set_gray_to_rgb(png_);
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    const std::size_t row_bytes = std::size_t{3} * png_get_image_width(png_, info_);
    if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "its pixels are not 8-bit RGB");
    if (passes > 1 && !sink.holds_all()) interlaced_.resize(row_bytes * static_cast<std::size_t>(height));
    const auto row = [&](std::int64_t y) {
      return interlaced_.empty() ? sink.row(y) : interlaced_.data() + row_bytes * static_cast<std::size_t>(y);
    };
    for (int pass = 0; pass < passes; ++pass) {
      for (std::int64_t y = 0; y < height; ++y) {
        png_read_row(png_, row(y), nullptr);
        if (pass + 1 < passes) continue;
        if (!interlaced_.empty()) std::memcpy(sink.row(y), row(y), row_bytes);
        sink.end_row(y);
      }
    }
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_QUIET_USE);  // Pillow checks nothing after the pixels
    png_read_end(png_, nullptr);
  }

 private:
  [[noreturn]] void throw_bad() const {
    if (truncated_) throw BadImage(bad_sample::kTruncated, "a PNG cut short");
    throw BadImage(bad_sample::kCorrupt,
                   fmt::format("a PNG that does not decode: {}{}{}", reason_, *warning_ ? ", " : "", warning_));
  }

  [[noreturn]] static void on_error(png_structp png, png_const_charp reason) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(reader->reason_, reason, sizeof(reader->reason_) - 1);
    png_longjmp(png, 1);
  }

  // The warning before some errors gives their reason: "Image width exceeds user limit".
  static void on_warning(png_structp png, png_const_charp warning) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(reader->warning_, warning, sizeof(reader->warning_) - 1);
  }

  static void on_read(png_structp png, png_bytep out, std::size_t length) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (reader->rest_.size() < length) {
      reader->truncated_ = true;
      png_error(png, "end of data");
    }
    std::memcpy(out, reader->rest_.data(), length);
    reader->rest_ = reader->rest_.subspan(length);
  }

  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::span<const std::uint8_t> rest_;
  std::vector<std::uint8_t> interlaced_;  // all rows, where the sink cannot hold them
  bool truncated_ = false;
  char reason_[128] = {};
  char warning_[128] = {};
};

}  // namespace

Header png_header(std::span<const std::uint8_t> encoded) {
  return PngReader(encoded).header();
}

void decode_png(std::span<const std::uint8_t> encoded, Size size, RowSink& rows) {
  PngReader reader(encoded);
  const Size found = reader.header().size;
  PB_CHECK(found == size, "a PNG of {} x {} pixels, memory for {} x {}", found.width, found.height, size.width,
           size.height);
  reader.read(size.height, rows);
}

}  // namespace pixelbert::images
