// The JPEG half of codec.h.
#pragma once

#include "images/codec.h"

namespace pixelbert::images {

Size jpeg_size(std::span<const std::uint8_t> encoded);
void decode_jpeg(std::span<const std::uint8_t> encoded, Size size, std::uint8_t* rgb);

}  // namespace pixelbert::images
