// A scene as a picture.
#pragma once

#include <cstdint>
#include <vector>

#include "scenes/world.h"

namespace pixelbert::scenes {

// JPEG (quality 92, full chroma). The same scene gives the same bytes with the same cairo and libjpeg-turbo.
std::vector<std::uint8_t> render_jpeg(const Scene& scene);

}  // namespace pixelbert::scenes
