// `pixelbert inspect` on a shard folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace pixelbert::shards {

struct Report {
  std::string summary;                // a few lines to print: counts, options, what was left out
  std::vector<std::string> problems;  // one line each; empty when the folder is sound
};

// Reads everything: the manifest, the files beside the shards, and each shard's index, images, texts and checksum.
// Throws Error when the manifest is missing or damaged.
Report verify(const std::filesystem::path& folder);

}  // namespace pixelbert::shards
