// The JPEG half of codec.h.
#pragma once

#include "images/header.h"

namespace pixelbert::images {

Header jpeg_header(std::span<const std::uint8_t> encoded);
void decode_jpeg(std::span<const std::uint8_t> encoded, Size size, RowSink& rows);

}  // namespace pixelbert::images
