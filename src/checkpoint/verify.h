// `pixelbert inspect` on a checkpoint.
#pragma once

#include <filesystem>

#include "core/inspection.h"

namespace pixelbert::checkpoint {

// Returns whether `path` is a checkpoint's folder, a folder of them, a run folder that has one, or a safetensors file.
bool is_checkpoint(const std::filesystem::path& path);

// Reads everything: the checksum of each file and the header of each list of tensors. In a run folder it takes the
// newest step, damaged or not. Throws Error if there is no readable manifest.
Inspection verify(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint
