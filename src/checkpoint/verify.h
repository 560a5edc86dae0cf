// `pixelbert inspect` on a checkpoint.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace pixelbert::checkpoint {

// Whether `path` is a checkpoint's folder, a folder of them, a run folder that has one, or a safetensors file.
bool is_checkpoint(const std::filesystem::path& path);

struct Report {
  std::string summary;                // some lines for people: step, files, number of weights
  std::vector<std::string> problems;  // one line each; empty when the checkpoint is sound
};

// Reads everything: the checksum of each file and the header of each list of tensors. Of a run folder the newest step,
// damaged or not. Error when there is no readable manifest.
Report verify(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint
