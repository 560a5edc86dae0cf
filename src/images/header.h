// What a file's header says.
#pragma once

#include <cstdint>

#include "images/codec.h"

namespace pixelbert::images {

struct Header {
  Size size;
  std::uint64_t least_bytes = 0;  // no complete image of this size has fewer
};

}  // namespace pixelbert::images
