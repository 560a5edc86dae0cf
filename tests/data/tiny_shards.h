// Shard folders of small one-coloured images, so that a test can tell which image it has and whether its pixels are
// right.
#pragma once

#include <ATen/ops/tensor.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "data/batch_maker.h"
#include "data/sample_stream.h"
#include "images/image_ops.h"
#include "shards/shard_folder_writer.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"

namespace pixelbert::test {

using Colour = std::array<std::uint8_t, 3>;

inline Colour colour_of(std::int64_t image_id) {
  return {static_cast<std::uint8_t>(image_id % 251), static_cast<std::uint8_t>(image_id / 251),
          static_cast<std::uint8_t>(255 - image_id % 256)};
}

inline std::vector<std::uint8_t> png_of(images::Size size, Colour colour) {
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < size.height * size.width; ++i) pixels.insert(pixels.end(), colour.begin(), colour.end());
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(size.height);
  image.width = static_cast<png_uint_32>(size.width);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::uint8_t> encoded(bytes);
  PB_CHECK(png_image_write_to_memory(&image, encoded.data(), &bytes, 0, pixels.data(), 0, nullptr), "no PNG");
  encoded.resize(bytes);
  return encoded;
}

// Image `id` is a one-coloured PNG of `size`. Text t of it names the image and t, in words of vocabulary().
inline shards::Record record_of(std::int64_t id, images::Size size, std::int64_t texts) {
  shards::Record record;
  record.images.push_back({.id = id,
                           .encoded = png_of(size, colour_of(id)),
                           .height = static_cast<std::int32_t>(size.height),
                           .width = static_cast<std::int32_t>(size.width)});
  for (std::int64_t t = 0; t < texts; ++t) {
    std::string text = "n" + std::to_string(id % 100) + " n" + std::to_string(t);
    for (std::int64_t i = 0; i < (id + t) % 5; ++i) text += " n" + std::to_string(i);
    record.texts.push_back({.id = 1000 * id + t, .text = text, .answers = {}});
  }
  return record;
}

inline text::Vocabulary vocabulary() {
  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (int i = 0; i < 100; ++i) tokens.push_back("n" + std::to_string(i));
  return text::Vocabulary(std::move(tokens));
}

inline std::shared_ptr<const shards::ShardSet> write_shards(const std::filesystem::path& folder,
                                                            const std::vector<shards::Record>& records) {
  shards::Manifest header;
  header.source = "test";
  shards::ShardFolderWriter writer({.folder = folder, .shard_mib = 256, .part = {}}, header);
  for (const shards::Record& record : records) writer.append(record);
  writer.finish();
  return std::make_shared<const shards::ShardSet>(folder);
}

// Flips one bit of `bytes` in the folder's only file, so that they no longer match their checksum.
inline void corrupt(const std::filesystem::path& folder, const std::vector<std::uint8_t>& bytes) {
  const std::filesystem::path path = folder / "shard-00000.h5";
  std::string content = read_file(path);
  const std::size_t at = content.find(std::string(bytes.begin(), bytes.end()));
  PB_CHECK(at != std::string::npos, "not in {}", path.string());
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(content[at] ^ 1));
}

// Makes a row of each sample, from which there is nothing to learn.
class PlainRows final : public data::RowMaker {
 public:
  void add_rows(data::Draft& draft) const override {
    draft.batch.image_of_row = at::tensor(draft.last_image);
    std::vector<std::vector<std::int64_t>> texts;
    for (const data::Sample& sample : draft.samples) texts.push_back(draft.encode(sample.text));
    draft.add_tokens(texts);
  }
};

inline std::vector<data::Block> blocks_of(const data::DataSets& sets, std::int64_t images_per_block) {
  std::vector<data::Block> blocks;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    data::Block block{.data_set = static_cast<std::int32_t>(i)};
    for (; block.first_image < sets[i]->images(); block.first_image += block.images) {
      block.images = std::min(images_per_block, sets[i]->images() - block.first_image);
      block.texts = 0;
      for (const std::int64_t texts : sets[i]->text_counts(block.first_image, block.first_image + block.images)) {
        block.texts += texts;
      }
      blocks.push_back(block);
      block.first_text += block.texts;
    }
  }
  return blocks;
}

inline data::SampleStream::TextCounts text_counts_of(const data::DataSets& sets) {
  return [&sets](const data::Block& block) {
    return sets[static_cast<std::size_t>(block.data_set)]->text_counts(block.first_image,
                                                                       block.first_image + block.images);
  };
}

}  // namespace pixelbert::test
