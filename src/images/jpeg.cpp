#include "images/jpeg.h"

#include <cstdio>  // jpeglib.h uses FILE without including it

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <vector>

#include "core/bad_sample.h"

namespace pixelbert::images {
namespace {

// a * b / 255, rounded, as Pillow's MULDIV255.
int scaled(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// Stored inverted: each byte is 255 minus the ink.
void inverted_cmyk_to_rgb(const std::vector<std::uint8_t>& cmyk, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < cmyk.size(); i += 4, rgb += 3) {
    const int paper = cmyk[i + 3];
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(paper - scaled(255 - cmyk[i + c], paper));
  }
}

// Uses libjpeg itself, not TurboJPEG, which reports only the first problem: a fatal error after a warning looks like
// the warning. As in Pillow, a fatal error and data that end early make an image bad; warnings (stray bytes, a bad
// code) do not.
//
// libjpeg reports errors by longjmp, which must not jump over a destructor: everything with one is a member or belongs
// to the callers of header() and read().
class JpegReader {
 public:
  explicit JpegReader(std::span<const std::uint8_t> encoded) : encoded_(encoded) {
    jpeg_.err = jpeg_std_error(&errors_);
    jpeg_.client_data = this;
    errors_.error_exit = [](j_common_ptr jpeg) { reader_of(jpeg).leave(); };
    errors_.emit_message = [](j_common_ptr, int) {};
    progress_.progress_monitor = on_progress;
    // A source at its end asks libjpeg to wait for more, as Pillow does: libjpeg then returns without an image.
    source_.next_input_byte = encoded.data();
    source_.bytes_in_buffer = encoded.size();
    source_.init_source = source_.term_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };
    source_.skip_input_data = skip;
    source_.resync_to_restart = jpeg_resync_to_restart;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }

  Header header() {
    if (setjmp(jump_) != 0) throw_bad("a JPEG without a readable header");
    jpeg_create_decompress(&jpeg_);
    jpeg_.src = &source_;
    if (jpeg_read_header(&jpeg_, TRUE) == JPEG_SUSPENDED) throw_truncated();
    // Huffman codes take at least one bit per block. Arithmetic codes, which nobody uses, may take less for an image of
    // one colour.
    return {{jpeg_.image_height, jpeg_.image_width}, blocks() / 8};
  }

  void read(RowSink& sink) {
    const bool cmyk = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
    if (cmyk) cmyk_row_.resize(std::size_t{4} * jpeg_.image_width);
    const std::size_t rgb_bytes = std::size_t{3} * jpeg_.image_width;
    if (setjmp(jump_) != 0) throw_bad("a JPEG that does not decode");
    jpeg_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_.progress = &progress_;
    jpeg_.mem->max_memory_to_use = kMaxMemory - static_cast<long>(rgb_bytes * jpeg_.image_height);
    if (!jpeg_start_decompress(&jpeg_)) throw_truncated();
    while (jpeg_.output_scanline < jpeg_.output_height) {
      const std::int64_t y = jpeg_.output_scanline;
      std::uint8_t* out = cmyk ? cmyk_row_.data() : sink.row(y);
      if (jpeg_read_scanlines(&jpeg_, &out, 1) != 1) throw_truncated();
      if (cmyk) inverted_cmyk_to_rgb(cmyk_row_, sink.row(y));
      sink.end_row(y);
    }
    jpeg_finish_decompress(&jpeg_);  // finds fatal errors after the last row; the end marker may be missing
  }

 private:
  // For libjpeg's coefficients and all pixels together, also where a sink does not keep them: an image is good for all
  // sinks or for none. The largest image that Pillow opens without a warning (89 million pixels) takes 805 million
  // bytes when it is progressive and not subsampled.
  static constexpr long kMaxMemory = 900'000'000;
  // Each scan of a progressive image goes through all blocks, even those it has no data for. Encoders make about ten
  // scans; this many blocks take seconds.
  static constexpr std::uint64_t kMaxBlocksOfAllScans = std::uint64_t{1} << 27;
  static constexpr std::uint64_t kMaxScans = 500;

  static JpegReader& reader_of(j_common_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }

  [[noreturn]] void leave() { std::longjmp(jump_, 1); }

  [[noreturn]] void throw_truncated() const {
    throw BadImage(bad_sample::kTruncated, fmt::format("a JPEG cut short after {} bytes", encoded_.size()));
  }

  [[noreturn]] void throw_bad(const char* what) {
    if (too_many_scans_) {
      throw BadImage(bad_sample::kCorrupt, fmt::format("{}: more than {} scans of {} x {} pixels", what, most_scans(),
                                                       jpeg_.image_width, jpeg_.image_height));
    }
    if (errors_.msg_code == JERR_NO_BACKING_STORE) {
      throw BadImage(bad_sample::kTooLarge,
                     fmt::format("a JPEG of {} x {} pixels in several scans: expected one that decodes in "
                                 "{} million bytes",
                                 jpeg_.image_width, jpeg_.image_height, kMaxMemory / 1'000'000));
    }
    char text[JMSG_LENGTH_MAX];
    errors_.format_message(reinterpret_cast<j_common_ptr>(&jpeg_), text);
    PB_CHECK(errors_.msg_code != JERR_OUT_OF_MEMORY, "libjpeg: {}", text);  // not the image's fault
    throw BadImage(bad_sample::kCorrupt, fmt::format("{}: {}", what, text));
  }

  std::uint64_t blocks() const {
    std::uint64_t blocks = 0;
    for (int i = 0; i < jpeg_.num_components; ++i) {
      blocks += std::uint64_t{jpeg_.comp_info[i].width_in_blocks} * jpeg_.comp_info[i].height_in_blocks;
    }
    return blocks;
  }

  std::uint64_t most_scans() const { return std::min(kMaxScans, kMaxBlocksOfAllScans / blocks()); }

  static void on_progress(j_common_ptr jpeg) {
    JpegReader& reader = reader_of(jpeg);
    if (static_cast<std::uint64_t>(reader.jpeg_.input_scan_number) <= reader.most_scans()) return;
    reader.too_many_scans_ = true;
    reader.leave();
  }

  static void skip(j_decompress_ptr jpeg, long bytes) {
    jpeg_source_mgr& source = *jpeg->src;
    const std::size_t skipped = std::min(static_cast<std::size_t>(std::max(bytes, 0L)), source.bytes_in_buffer);
    source.next_input_byte += skipped;
    source.bytes_in_buffer -= skipped;
  }

  std::span<const std::uint8_t> encoded_;
  jpeg_decompress_struct jpeg_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_source_mgr source_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf jump_;
  std::vector<std::uint8_t> cmyk_row_;
  bool too_many_scans_ = false;
};

}  // namespace

Header jpeg_header(std::span<const std::uint8_t> encoded) {
  return JpegReader(encoded).header();
}

void decode_jpeg(std::span<const std::uint8_t> encoded, Size size, RowSink& rows) {
  JpegReader reader(encoded);
  const Size found = reader.header().size;
  PB_CHECK(found == size, "a JPEG of {} x {} pixels, memory for {} x {}", found.width, found.height, size.width,
           size.height);
  reader.read(rows);
}

}  // namespace pixelbert::images
