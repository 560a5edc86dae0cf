#include "images/codec.h"

#include <algorithm>
#include <string_view>

#include "core/bad_sample.h"
#include "images/jpeg.h"
#include "images/png.h"

namespace pixelbert::images {
namespace {

enum class Format { Jpeg, Png };

bool starts_with(std::span<const std::uint8_t> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin(),
                                                    [](char a, std::uint8_t b) { return a == static_cast<char>(b); });
}

Format format_of(std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) throw BadImage(bad_sample::kEmpty, "an image of zero bytes");
  if (starts_with(bytes, "\xff\xd8\xff")) return Format::Jpeg;
  if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) return Format::Png;
  constexpr std::pair<std::string_view, const char*> kOthers[] = {
      {"GIF8", "GIF"}, {"RIFF", "WebP"}, {"BM", "BMP"}, {"II*", "TIFF"}, {"MM", "TIFF"}};
  for (const auto& [magic, name] : kOthers) {
    if (starts_with(bytes, magic)) {
      throw BadImage(bad_sample::kUnsupportedFormat, fmt::format("a {} file: expected JPEG or PNG, convert it", name));
    }
  }
  throw BadImage(bad_sample::kNotAnImage,
                 fmt::format("expected JPEG or PNG, found {} bytes of something else", bytes.size()));
}

}  // namespace

Size probe(std::span<const std::uint8_t> encoded) {
  const auto [size, least_bytes] = format_of(encoded) == Format::Jpeg ? jpeg_header(encoded) : png_header(encoded);
  if (size.height > kMaxPixels / size.width) {
    throw BadImage(bad_sample::kTooLarge, fmt::format("{} x {} pixels: expected at most {} million", size.width,
                                                      size.height, kMaxPixels / 1'000'000));
  }
  if (encoded.size() < least_bytes) {
    throw BadImage(bad_sample::kTruncated, fmt::format("{} x {} pixels in {} bytes: expected at least {} bytes",
                                                       size.width, size.height, encoded.size(), least_bytes));
  }
  return size;
}

void decode(std::span<const std::uint8_t> encoded, Size size, RowSink& rows) {
  if (format_of(encoded) == Format::Jpeg) {
    decode_jpeg(encoded, size, rows);
  } else {
    decode_png(encoded, size, rows);
  }
}

void decode_into(std::span<const std::uint8_t> encoded, Size size, std::uint8_t* rgb) {
  RowsInMemory rows(rgb, 3 * size.width);
  decode(encoded, size, rows);
}

}  // namespace pixelbert::images
