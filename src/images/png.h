// The PNG half of codec.h.
#pragma once

#include "images/header.h"

namespace pixelbert::images {

Header png_header(std::span<const std::uint8_t> encoded);
void decode_png(std::span<const std::uint8_t> encoded, Size size, RowSink& rows);

}  // namespace pixelbert::images
