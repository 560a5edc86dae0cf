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

// Reads everything: the checksum of each file, then of each image and text, the answers, and that the manifest's counts
// hold. Error when there is no readable manifest.
Report verify(const std::filesystem::path& folder);

}  // namespace pixelbert::shards
