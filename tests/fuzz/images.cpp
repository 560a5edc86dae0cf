// JPEG and PNG. Each image is decoded and resized twice, into memory with different content, which shows unwritten
// pixels.
#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "core/files.h"
#include "images/codec.h"
#include "images/resampler.h"
#include "tests/fuzz/fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace pixelbert::fuzz {
namespace {

using Bytes = std::span<std::uint8_t>;

// Returns the checksum of the pixels, resized to `wanted`; nothing if the image is refused. libjpeg-turbo and libpng
// are not instrumented, so a guard after the pixels shows whether they write too far.
std::optional<std::uint32_t> decode(std::span<const std::uint8_t> encoded, images::Size size, images::Size wanted,
                                    std::uint8_t fill) {
  constexpr std::size_t kGuard = 4096;
  const auto bytes = static_cast<std::size_t>(3 * wanted.height * wanted.width);
  std::vector<std::uint8_t> rgb(bytes + kGuard, fill);
  const bool good = accepted({}, [&] {
    if (wanted == size) return images::decode_into(encoded, size, rgb.data());
    images::Resampler rows(size, wanted, rgb.data(), 3 * wanted.width);
    images::decode(encoded, size, rows);
  });
  if (std::any_of(rgb.end() - kGuard, rgb.end(), [&](std::uint8_t byte) { return byte != fill; })) {
    found("bytes after the image were written");
  }
  if (!good) return std::nullopt;
  return crc32c(std::as_bytes(std::span(rgb)).first(bytes));
}

void read(std::span<const std::uint8_t> encoded) {
  images::Size size;
  if (!accepted({}, [&] { size = images::probe(encoded); })) return;
  if (size.height < 1 || size.width < 1) found(fmt::format("an image of {} x {} pixels", size.width, size.height));
  for (const images::Size wanted : {size, images::Size{7, 50}}) {
    if (decode(encoded, size, wanted, 0x00) != decode(encoded, size, wanted, 0xFF)) {
      found("a pixel was not written, or decoded by chance");
    }
  }
}

bool starts_with(std::span<const std::uint8_t> bytes, std::string_view magic) {
  return text_of(bytes).starts_with(magic);
}

// Calls visit(marker, segment) for each segment of a JPEG before its first scan.
template <class Visit>
void for_each_segment(Bytes jpeg, Visit visit) {
  for (std::size_t at = 2; at + 4 <= jpeg.size() && jpeg[at] == 0xFF && jpeg[at + 1] != 0xDA;) {
    const std::size_t length = std::size_t{jpeg[at + 2]} << 8 | jpeg[at + 3];
    if (at + 2 + length > jpeg.size()) return;
    visit(jpeg[at + 1], jpeg.subspan(at + 2, length));
    at += 2 + length;
  }
}

// Calls visit(type, content, checksum) for each chunk of a PNG.
template <class Visit>
void for_each_chunk(Bytes png, Visit visit) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length << 8 | png[at + i];
    if (length > png.size() - at - 12) return;
    visit(png.subspan(at + 4, 4), png.subspan(at + 8, length), png.subspan(at + 8 + length, 4));
    at += 12 + length;
  }
}

// Most images stay below 256 x 256: larger ones are slow and find little more.
void shrink(Bytes image) {
  if (starts_with(image, "\xff\xd8")) {
    for_each_segment(image, [](std::uint8_t marker, Bytes segment) {
      const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
      if (is_frame && segment.size() >= 7) segment[3] = segment[5] = 0;
    });
  } else if (starts_with(image, "\x89PNG")) {
    for_each_chunk(image, [](Bytes type, Bytes content, Bytes) {
      if (text_of(type) != "IHDR" || content.size() < 8) return;
      for (const std::size_t high : {0, 1, 2, 4, 5, 6}) content[high] = 0;
    });
  }
}

// libpng ignores a chunk with a wrong checksum.
void repair_checksums(Bytes image) {
  if (!starts_with(image, "\x89PNG")) return;
  for_each_chunk(image, [](Bytes type, Bytes content, Bytes checksum) {
    const std::uint32_t crc = crc32_gzip_refl(0, type.data(), type.size() + content.size());  // they lie side by side
    for (std::size_t i = 0; i < 4; ++i) checksum[i] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
  });
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pixelbert::fuzz::read({data, size});
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 64 != 0) pixelbert::fuzz::shrink({data, size});
  if (seed % 8 != 1) pixelbert::fuzz::repair_checksums({data, size});
  return size;
}
