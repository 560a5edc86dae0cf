// The safetensors format: 8 bytes of length, a JSON header, raw little-endian tensors. Python opens the result with
// safetensors.torch.load_file.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace pixelbert::checkpoint {

using NamedTensors = std::map<std::string, torch::Tensor>;

// What a manifest says about a file.
struct Digest {
  std::int64_t bytes = 0;
  std::uint32_t crc32c = 0;
  bool operator==(const Digest&) const = default;
};

// Of the tensors' bytes in the order of their names: the same weights give the same, on any device.
Digest digest_of(const NamedTensors& tensors);

// Flushed to the disk, but written in place: callers write into a folder or file that is renamed when whole.
// Any device and strides; stored contiguous with the dtype they have (float64, float32, float16, bfloat16, int64,
// int32, int16, int8, uint8, bool). At most one tensor is copied at a time. The digest is taken on the way, from
// memory.
Digest write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                         const std::map<std::string, std::string>& metadata = {});

// On the CPU. Error naming the file, the tensor and what is wrong for anything that is not whole and well-formed: names
// are unique, tensors fill the file without holes, and a header has at most 100 MB.
NamedTensors read_safetensors(const std::filesystem::path& path);
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

// The header alone, checked as thoroughly.
struct TensorInfo {
  std::string name;
  torch::Dtype dtype;
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0, end = 0;  // bytes in the file
};
std::vector<TensorInfo> list_safetensors(const std::filesystem::path& path);  // in the order of the file

// Error that begins with `where` and names a tensor with a NaN or an infinity. Integers always are finite.
void check_finite(const NamedTensors& tensors, const std::string& where);

}  // namespace pixelbert::checkpoint
