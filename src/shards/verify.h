// `pixelbert inspect` on a shard folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace pixelbert::shards {

struct Report {
  std::string summary;                // some lines for people: counts, options, what was left out
  std::vector<std::string> problems;  // one line each; empty when the folder is sound
};

// Reads everything: the manifest, the files beside the shards, and of each shard the index, each image and text, and
// the checksum of the whole. Error when there is no manifest, or a damaged one.
Report verify(const std::filesystem::path& folder);

}  // namespace pixelbert::shards
