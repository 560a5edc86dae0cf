// The safetensors format: 8 bytes of length, a JSON header, raw little-endian tensors. Python opens the result with
// safetensors.torch.load_file.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <string>

namespace pixelbert::checkpoint {

using NamedTensors = std::map<std::string, torch::Tensor>;

// Flushed to the disk, but written in place: callers write into a folder or file that is renamed when whole.
// Any device and strides; stored contiguous with the dtype they have (float32, float16, bfloat16, float64, int64, int32, uint8, bool).
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

// On the CPU. Error naming the file, the tensor and what is wrong for anything that is not whole and well-formed.
NamedTensors read_safetensors(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint
