// `pixelbert inspect` on a shard folder.
#pragma once

#include <filesystem>

#include "core/inspection.h"

namespace pixelbert::shards {

// Reads everything: the manifest, the files beside the shards, and each shard's index, images, texts and checksum.
// Throws Error when the manifest is missing or damaged.
Inspection verify(const std::filesystem::path& folder);

}  // namespace pixelbert::shards
