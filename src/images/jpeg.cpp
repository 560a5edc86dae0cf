#include "images/jpeg.h"

#include <turbojpeg.h>

#include <string_view>
#include <vector>

#include "core/unique_handle.h"

namespace pixelbert::images {
namespace {

struct DecompressorTraits {
  using Value = tjhandle;
  static constexpr Value kNull = nullptr;
  static void close(Value handle) noexcept { tjDestroy(handle); }
};
using Decompressor = UniqueHandle<DecompressorTraits>;

struct Header {
  int width = 0;
  int height = 0;
  int colour_space = -1;
};

Decompressor make_decompressor() {
  Decompressor decompressor(tjInitDecompress());
  PB_CHECK(decompressor, "libjpeg-turbo: {}", tjGetErrorStr2(nullptr));
  return decompressor;
}

Header read_header(tjhandle handle, std::span<const std::uint8_t> encoded) {
  Header header;
  int subsampling = -1;
  tjDecompressHeader3(handle, encoded.data(), encoded.size(), &header.width, &header.height, &subsampling,
                      &header.colour_space);
  // The call also fails for chroma subsampling without a name in its interface, which decodes all the same; the size
  // tells whether there was a header.
  if (header.width < 1 || header.height < 1) {
    throw BadImage("corrupt", fmt::format("a JPEG without a readable header: {}", tjGetErrorStr2(handle)));
  }
  return header;
}

// Whether an end-of-image marker follows the last scan; one before it is a thumbnail's.
bool has_end(std::span<const std::uint8_t> encoded) {
  constexpr std::uint8_t kMarker = 0xFF, kStartOfScan = 0xDA, kEndOfImage = 0xD9;
  for (std::size_t i = encoded.size(); i-- > 1;) {
    if (encoded[i - 1] != kMarker) continue;
    if (encoded[i] == kEndOfImage) return true;
    if (encoded[i] == kStartOfScan) return false;
  }
  return false;
}

void decompress(tjhandle handle, std::span<const std::uint8_t> encoded, TJPF format, std::uint8_t* out) {
  // LIMITSCANS: a progressive file of a thousand scans would take minutes.
  if (tjDecompress2(handle, encoded.data(), encoded.size(), out, 0, 0, 0, format, TJFLAG_LIMITSCANS) == 0) return;
  const std::string_view reason = tjGetErrorStr2(handle);
  // Of several warnings only the first is kept, so a file that does not end is looked for as well.
  if (reason.find("Premature end") != std::string_view::npos || !has_end(encoded)) {
    throw BadImage("truncated", fmt::format("a JPEG cut short after {} bytes", encoded.size()));
  }
  // Other warnings (stray bytes, a bad code) leave a picture; Pillow is silent about them too.
  if (tjGetErrorCode(handle) == TJERR_WARNING) return;
  throw BadImage("corrupt", fmt::format("a JPEG that does not decode: {}", reason));
}

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

}  // namespace

Size jpeg_size(std::span<const std::uint8_t> encoded) {
  const Decompressor decompressor = make_decompressor();
  const Header header = read_header(decompressor.get(), encoded);
  return {header.height, header.width};
}

void decode_jpeg(std::span<const std::uint8_t> encoded, Size size, std::uint8_t* rgb) {
  const Decompressor decompressor = make_decompressor();
  const Header header = read_header(decompressor.get(), encoded);
  PB_CHECK((size == Size{header.height, header.width}), "a JPEG of {} x {} pixels, memory for {} x {}", header.width,
           header.height, size.width, size.height);
  if (header.colour_space != TJCS_CMYK && header.colour_space != TJCS_YCCK) {
    return decompress(decompressor.get(), encoded, TJPF_RGB, rgb);
  }
  std::vector<std::uint8_t> cmyk(static_cast<std::size_t>(size.height * size.width) * 4);
  decompress(decompressor.get(), encoded, TJPF_CMYK, cmyk.data());
  inverted_cmyk_to_rgb(cmyk, rgb);
}

}  // namespace pixelbert::images
