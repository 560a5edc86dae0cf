// Decodes JPEG and PNG to RGB bytes, as Pillow's convert("RGB") does; without LibTorch.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "core/check.h"
#include "images/row_sink.h"

namespace pixelbert::images {

// Bytes that are no image, or one too broken to use. `reason` is of core/bad_sample.h, or another that a source counts.
struct BadImage : Error {
  BadImage(std::string reason_label, const std::string& message) : Error(message), reason(std::move(reason_label)) {}
  std::string reason;
};

struct Size {
  std::int64_t height = 0;
  std::int64_t width = 0;
  bool operator==(const Size&) const = default;
};

// Images with more pixels are refused, where Pillow raises DecompressionBombError.
constexpr std::int64_t kMaxPixels = 178'956'970;

// Reads only the header. Throws BadImage when the content is neither JPEG nor PNG, or claims more pixels than
// kMaxPixels or than its bytes can hold: a few bytes can claim 65500 x 65500.
Size probe(std::span<const std::uint8_t> encoded);

// Gives the rows of the image to `rows`. `size` is the result of probe().
//
// Grey is replicated, palettes are looked up, alpha is dropped, 16 bits keep their high byte. CMYK and YCCK JPEGs are
// read as Adobe writes them, inverted. EXIF rotation is ignored.
//
// Throws BadImage for everything that Pillow refuses to load, and for a PNG with any error in its pixel data. A damaged
// JPEG that Pillow loads without an error gets the same pixels as there. Needs at most 900 MB, those of a sink that
// keeps all rows included; a JPEG in several scans that would need more is "too-large".
void decode(std::span<const std::uint8_t> encoded, Size size, RowSink& rows);

// The same into 3 * height * width bytes.
void decode_into(std::span<const std::uint8_t> encoded, Size size, std::uint8_t* rgb);

}  // namespace pixelbert::images
