// What a file says of itself before it is decoded.
#pragma once

#include <cstdint>

#include "images/codec.h"

namespace pixelbert::images {

struct Header {
  Size size;
  std::uint64_t least_bytes = 0;  // no whole picture of this size is encoded in fewer
};

}  // namespace pixelbert::images
