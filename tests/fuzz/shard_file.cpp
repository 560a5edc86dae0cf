// A shard file beside a manifest that fits it. The first two bytes of an input are its numbers of images and texts.
#include "core/files.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/fuzz/fuzz.h"

namespace pixelbert::fuzz {
namespace {

// In the first version of the format, which every version reads.
std::string manifest_of(std::string_view file, int images, int texts) {
  return fmt::format(
      R"({{"format": "pixelbert-shards", "version": 1, "source": "fuzz", "task": "vqa", "options": {{}}, "images": {0},
          "texts": {1}, "skipped": {{}}, "repaired": {{}}, "files": [{{"name": "shard-00000.h5", "bytes": {2},
          "crc32c": {3}, "images": {0}, "texts": {1}, "block_texts": [{4}]}}]}})",
      images, texts, file.size(), crc32c(std::as_bytes(std::span(file))), images > 0 ? fmt::to_string(texts) : "");
}

void check_row(std::int64_t row, std::int64_t rows, const char* kind) {
  if (row < 0 || row >= rows) found(fmt::format("{} {} of {}", kind, row, rows));
}

void read_images(const shards::ShardSet& shards, const Paths& files) {
  for (std::int64_t row = 0; row < shards.images(); ++row) {
    accepted(files, [&] { shards.image(row); });
    accepted(files, [&] { shards.image_id(row); });
    accepted(files, [&] {
      const std::int64_t first = shards.first_text_of_image(row);
      if (first != shards.texts()) check_row(first, shards.texts(), "first text");
    });
  }
  accepted(files, [&] {
    for (const std::int64_t texts : shards.text_counts(0, shards.images())) {
      if (texts < 0 || texts > shards.texts()) found(fmt::format("an image of {} texts", texts));
    }
  });
}

void read_texts(const shards::ShardSet& shards, const Paths& files) {
  for (std::int64_t row = 0; row < shards.texts(); ++row) {
    accepted(files, [&] { shards.text(row); });
    accepted(files, [&] { shards.text_id(row); });
    accepted(files, [&] { shards.group(row); });
    accepted(files, [&] { shards.answers(row); });
    accepted(files, [&] { check_row(shards.image_of_text(row), shards.images(), "image of a text"); });
    accepted(files, [&] {
      const std::int64_t second = shards.second_image_of_text(row);
      if (second != -1) check_row(second, shards.images(), "second image of a text");
    });
  }
}

void read(std::string_view file, int images, int texts) {
  const Paths files = {write("shards/shard-00000.h5", file),
                       write("shards/manifest.json", manifest_of(file, images, texts))};
  accepted(files, [&] {
    for (const std::string& problem : shards::verify(folder() / "shards").problems) check_message(problem, files);
  });
  accepted(files, [&] {
    const shards::ShardSet shards(folder() / "shards");
    read_images(shards, files);
    read_texts(shards, files);
  });
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return -1;
  pixelbert::fuzz::read(pixelbert::fuzz::text_of({data + 2, size - 2}), data[0], data[1]);
  return 0;
}
