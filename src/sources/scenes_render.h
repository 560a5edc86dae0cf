// A scene as a picture.
#pragma once

#include <cstdint>
#include <vector>

#include "sources/scenes_world.h"

namespace pixelbert::sources {

// JPEG (quality 92, full chroma). The same scene gives the same bytes with the same cairo and libjpeg-turbo.
std::vector<std::uint8_t> render_jpeg(const Scene& scene);

}  // namespace pixelbert::sources
