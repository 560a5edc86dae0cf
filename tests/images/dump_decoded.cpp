// dump_decoded SHORT LONG OUT FILE...: decodes and resizes each image as a loader does and writes OUT/0.decoded,
// OUT/0.resized, OUT/1.decoded, ... (RGB bytes), with their sizes, or "bad" and why, on stdout. For
// tests/parity/images_parity.py.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>

#include "core/files.h"
#include "images/image_ops.h"

namespace {

void write(const std::filesystem::path& path, const torch::Tensor& pixels) {
  pixelbert::write_file(
      path, {reinterpret_cast<const char*>(pixels.data_ptr<std::uint8_t>()), static_cast<std::size_t>(pixels.numel())});
}

using namespace pixelbert;

// The sizes as decoded and as resized.
std::string dump(const std::string& file, const std::string& out, const images::ImageConfig& config) try {
  const std::string encoded = read_file(file);
  const torch::Tensor pixels = images::decode({reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()});
  const torch::Tensor small = images::resize(pixels, images::resized({pixels.size(0), pixels.size(1)}, config));
  write(out + ".decoded", pixels);
  write(out + ".resized", small);
  return fmt::format("{} {} {} {}", pixels.size(0), pixels.size(1), small.size(0), small.size(1));
} catch (const images::BadImage& bad) {
  return fmt::format("bad {}: {}", bad.reason, bad.what());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 5) return 2;
  const images::ImageConfig config{std::atoll(argv[1]), std::atoll(argv[2])};
  const std::filesystem::path out = argv[3];
  for (int i = 4; i < argc; ++i) fmt::print("{}\n", dump(argv[i], out / std::to_string(i - 4), config));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
