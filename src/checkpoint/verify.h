// `pixelbert inspect` on a checkpoint.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace pixelbert::checkpoint {

// Returns whether `path` is a checkpoint's folder, a folder of them, a run folder that has one, or a safetensors file.
bool is_checkpoint(const std::filesystem::path& path);

struct Report {
  std::string summary;                // some lines for users: step, files, number of weights
  std::vector<std::string> problems;  // one line each; empty when the checkpoint is sound
};

// Reads everything: the checksum of each file and the header of each list of tensors. In a run folder it takes the
// newest step, damaged or not. Throws Error if there is no readable manifest.
Report verify(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint
