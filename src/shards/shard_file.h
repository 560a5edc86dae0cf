// Writes one .h5 file of a shard folder. data_shards/README.md specifies the layout.
#pragma once

#include <filesystem>
#include <span>

#include "shards/record.h"
#include "shards/shard_manifest.h"

namespace pixelbert::shards {

// Writes `path`.tmp, flushes it and renames it. Returns its entry in the manifest. Throws Error when it cannot be
// written; then neither file exists.
ShardFile write_shard_file(const std::filesystem::path& path, std::span<const Record> records);

}  // namespace pixelbert::shards
