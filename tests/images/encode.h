// JPEGs and PNGs for tests.
#pragma once

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

namespace pixelbert::test {

using Bytes = std::vector<std::uint8_t>;

// Smooth in all channels, so that JPEG loses little of it.
inline Bytes gradient(int height, int width, int channels) {
  Bytes pixels(static_cast<std::size_t>(height) * width * channels);
  std::size_t i = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        const int wave = (x * (c + 1) + y * (4 - c)) % 400;
        pixels[i++] = static_cast<std::uint8_t>(20 + (wave < 200 ? wave : 399 - wave));
      }
    }
  }
  return pixels;
}

struct JpegOptions {
  TJPF format = TJPF_RGB;
  TJSAMP subsampling = TJSAMP_444;
  int flags = 0;
};

inline Bytes jpeg(const Bytes& pixels, int height, int width, JpegOptions options = {}) {
  tjhandle handle = tjInitCompress();
  unsigned char* out = nullptr;
  unsigned long size = 0;
  tjCompress2(handle, pixels.data(), width, 0, height, options.format, &out, &size, options.subsampling, 95,
              options.flags);
  Bytes bytes(out, out + size);
  tjFree(out);
  tjDestroy(handle);
  return bytes;
}

// Puts before the last scan stray bytes, which libjpeg warns of, and after them a marker that it refuses.
inline Bytes fatal_error_behind_a_warning(const Bytes& pixels, int height, int width) {
  Bytes bytes = jpeg(pixels, height, width, {TJPF_RGB, TJSAMP_420, TJFLAG_PROGRESSIVE});
  const Bytes scan = {0xFF, 0xDA};
  const auto last = std::find_end(bytes.begin(), bytes.end(), scan.begin(), scan.end());
  bytes.insert(last, {0x11, 0x22, 0xFF, 0xF6});
  return bytes;
}

// Only its header says so; the data are those of a smaller one.
inline Bytes claiming(Bytes jpeg, int height, int width) {
  for (const Bytes& frame : {Bytes{0xFF, 0xC0}, Bytes{0xFF, 0xC2}}) {
    const auto at = std::search(jpeg.begin(), jpeg.end(), frame.begin(), frame.end());
    if (at == jpeg.end()) continue;
    at[5] = static_cast<std::uint8_t>(height >> 8);
    at[6] = static_cast<std::uint8_t>(height & 0xFF);
    at[7] = static_cast<std::uint8_t>(width >> 8);
    at[8] = static_cast<std::uint8_t>(width & 0xFF);
  }
  return jpeg;
}

struct PngOptions {
  int colour_type = PNG_COLOR_TYPE_RGB;
  int depth = 8;
  bool interlaced = false;
  bool gamma = false;
  std::vector<png_color> palette;
};

// `rows` as PNG stores them (16 bits big-endian, small depths packed).
inline Bytes png(const Bytes& rows, int height, int width, const PngOptions& options = {}) {
  Bytes bytes;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &bytes,
      [](png_structp png, png_bytep data, std::size_t length) {
        auto* bytes = static_cast<Bytes*>(png_get_io_ptr(png));
        bytes->insert(bytes->end(), data, data + length);
      },
      nullptr);
  png_set_IHDR(png, info, width, height, options.depth, options.colour_type,
               options.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (!options.palette.empty()) {
    png_set_PLTE(png, info, options.palette.data(), static_cast<int>(options.palette.size()));
  }
  if (options.gamma) png_set_gAMA(png, info, 0.25);
  png_write_info(png, info);
  Bytes copy = rows;
  std::vector<png_bytep> pointers(height);
  for (int y = 0; y < height; ++y) pointers[y] = copy.data() + rows.size() / height * y;
  png_write_image(png, pointers.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

}  // namespace pixelbert::test
