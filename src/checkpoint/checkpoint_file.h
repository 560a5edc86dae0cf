// A checkpoint as one safetensors file, to pass on. Python reads the weights with safetensors.torch.load_file; the
// metadata holds the rest under the file names of a checkpoint folder. The optimizer's state is left out.
#pragma once

#include <filesystem>

#include "checkpoint/checkpoint.h"

namespace pixelbert::checkpoint {

// Writes aside, flushes and renames: `path` holds the old content, or all of the new.
void write_checkpoint_file(const std::filesystem::path& path, const Weights& weights);

// Throws Error naming the file and what is wrong with it, also if the file is sound but holds only weights, or if a
// weight is not finite.
Weights read_checkpoint_file(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint
