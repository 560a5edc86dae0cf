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

// Size and checksum of a file, as a manifest holds them.
struct Digest {
  std::int64_t bytes = 0;
  std::uint32_t crc32c = 0;
  bool operator==(const Digest&) const = default;
};

// Returns the digest of the tensors' bytes in the order of their names: the same for the same weights on any device.
Digest digest_of(const NamedTensors& tensors);
Digest digest_of(const std::string& text);

// Writes in place and flushes to the disk; callers write into a folder or file that is renamed once it is whole.
// Tensors may have any device and strides; they are stored contiguous with their dtype (float64, float32, float16,
// bfloat16, int64, int32, int16, int8, uint8, bool). At most one tensor is copied at a time. Returns the digest, which
// is computed from memory on the way.
Digest write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                         const std::map<std::string, std::string>& metadata = {});

// Reads tensors to the CPU. Throws Error naming the file, the tensor and what is wrong unless the file is whole and
// well-formed: names are unique, tensors fill the file without holes, and the header has at most 100 MB.
NamedTensors read_safetensors(const std::filesystem::path& path);
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

struct TensorInfo {
  std::string name;
  torch::Dtype dtype;
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0, end = 0;  // bytes in the file
};

// The file that write_safetensors() would write. Only types and shapes matter (meta tensors will do).
struct Layout {
  std::string head;  // length and header
  std::vector<TensorInfo>
      tensors;  // in the order of the file, contiguous, from the end of the head to that of the file
  std::int64_t bytes = 0;
};
Layout layout_safetensors(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {});

// Reads only the header, checked as thoroughly.
std::vector<TensorInfo> list_safetensors(const std::filesystem::path& path);  // in the order of the file

// Whether no value is NaN or infinite. Integers never are.
bool is_finite(const torch::Tensor& tensor);

// Throws Error beginning with `where` and naming the tensor if one is not finite.
void check_finite(const NamedTensors& tensors, const std::string& where);

}  // namespace pixelbert::checkpoint
