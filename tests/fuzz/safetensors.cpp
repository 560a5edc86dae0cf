// A safetensors file, read as published weights and as an exported checkpoint.
#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/checkpoint_file.h"
#include "tests/fuzz/fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace pixelbert::fuzz {
namespace {

constexpr std::size_t kLengthBytes = sizeof(std::uint64_t);

void read(std::string_view content) {
  const std::filesystem::path path = write("model.safetensors", content);
  accepted({path}, [&] {
    std::size_t bytes = 0;
    for (const checkpoint::TensorInfo& info : checkpoint::list_safetensors(path)) {
      if (info.begin > info.end || info.end > std::ssize(content)) found(fmt::format("'{}' lies outside", info.name));
      bytes += static_cast<std::size_t>(info.end - info.begin);
    }
    std::size_t read = 0;
    for (const auto& [name, tensor] : checkpoint::read_safetensors(path)) read += tensor.nbytes();
    if (read != bytes) found(fmt::format("{} bytes were listed, {} read", bytes, read));
  });
  accepted({path}, [&] { checkpoint::read_safetensors_metadata(path); });
  accepted({path}, [&] { checkpoint::read_checkpoint_file(path); });
}

// Changes the header and writes its new length before it.
std::size_t mutate_header(std::uint8_t* data, std::size_t size, std::size_t max_size) {
  std::uint64_t length = 0;
  if (size < kLengthBytes) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(&length, data, kLengthBytes);
  if (length > size - kLengthBytes) return LLVMFuzzerMutate(data, size, max_size);
  const std::vector<std::uint8_t> tensors(data + kLengthBytes + length, data + size);
  length = LLVMFuzzerMutate(data + kLengthBytes, length, max_size - kLengthBytes - tensors.size());
  std::memcpy(data, &length, kLengthBytes);
  std::copy(tensors.begin(), tensors.end(), data + kLengthBytes + length);
  return kLengthBytes + length + tensors.size();
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pixelbert::fuzz::read(pixelbert::fuzz::text_of({data, size}));
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  if (seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  return pixelbert::fuzz::mutate_header(data, size, max_size);
}
