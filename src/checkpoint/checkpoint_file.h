// A checkpoint as one safetensors file, to hand on: Python reads the weights with safetensors.torch.load_file, and the
// metadata holds the rest under the names that the files of a checkpoint folder have. The optimizer's state stays
// behind.
#pragma once

#include <filesystem>

#include "checkpoint/checkpoint.h"

namespace pixelbert::checkpoint {

// Written aside, flushed and renamed: `path` holds what it held before, or all of the new content.
void write_checkpoint_file(const std::filesystem::path& path, const Weights& weights);

// Error naming the file and what is wrong with it, also when it is sound but holds weights alone, or weights that are
// not finite.
Weights read_checkpoint_file(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint
