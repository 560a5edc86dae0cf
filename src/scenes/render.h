// Renders a scene as an image.
#pragma once

#include <cstdint>
#include <vector>

#include "scenes/world.h"

namespace pixelbert::scenes {

// Returns a JPEG (quality 92, full chroma). The same scene gives the same bytes with the same cairo and libjpeg-turbo.
std::vector<std::uint8_t> render_jpeg(const Scene& scene);

}  // namespace pixelbert::scenes
