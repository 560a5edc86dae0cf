#include "data/data_sets.h"

#include <algorithm>
#include <filesystem>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::data {

namespace {

// What image `row` takes up in a batch, with the second image of its texts if there is one.
Shape shape_of(const shards::ShardSet& data, std::int64_t row, const images::ImageConfig& config) {
  Shape shape;
  const auto add = [&](std::int64_t image) {
    const shards::PixelSize stored = data.image_size(image);
    const images::Size size = images::resized({stored.height, stored.width}, config);
    shape = {std::max(shape.height, size.height), std::max(shape.width, size.width), shape.images + 1,
             shape.pixels + size.height * size.width};
  };
  add(row);
  if (data.manifest().task != "nlvr2") return shape;
  const std::int64_t text = data.first_text_of_image(row);
  if (text == data.texts() || data.image_of_text(text) != row) return shape;  // a right image, which has no texts
  if (const std::int64_t second = data.second_image_of_text(text); second >= 0) add(second);
  return shape;
}

}  // namespace

DataSets open_data(const std::vector<std::string>& folders) {
  if (folders.empty()) {
    throw UsageError("--data.shards is missing: name a folder made by 'pixelbert shard' (repeatable)");
  }
  DataSets data;
  for (const std::string& folder : folders) {
    activity::doing(activity::Phase::Start, fmt::format("opening {}", folder));
    data.push_back(std::make_shared<const shards::ShardSet>(folder));
  }
  return data;
}

std::vector<std::string> identity_of(const DataSets& data) {
  std::vector<std::string> lines;
  for (const auto& set : data) {
    const shards::Manifest& manifest = set->manifest();
    std::string line =
        fmt::format("{} {:08x} {} images {} texts", manifest.source, manifest.identity(), set->images(), set->texts());
    if (const auto exclude = manifest.options.find("vg.exclude"); exclude != manifest.options.end()) {
      line += fmt::format(" vg.exclude={}", exclude->second);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

text::WordPiece make_tokenizer(const std::string& vocab_file, const DataSets& data) {
  if (!vocab_file.empty()) return text::WordPiece(text::Vocabulary::read(vocab_file));
  for (const auto& set : data) {
    if (!std::filesystem::exists(set->vocabulary())) continue;
    shards::check_other_file(set->folder(), set->manifest(), set->vocabulary().filename());
    return text::WordPiece(text::Vocabulary::read(set->vocabulary()));
  }
  throw UsageError(
      fmt::format("--text.vocab is missing: {} brings no vocabulary of its own", data[0]->folder().string()));
}

SampleStream make_stream(const DataSets& data, const StreamConfig& config, std::uint64_t seed,
                         const images::ImageConfig& image) {
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < data.size(); ++i) {
    Block block{.data_set = static_cast<std::int32_t>(i)};
    for (const shards::ShardFile& file : data[i]->manifest().files) {
      std::int64_t images_left = file.images;
      for (const std::int64_t texts : file.block_texts) {
        block.images = std::min(images_left, shards::kImagesPerBlock);
        block.texts = texts;
        blocks.push_back(block);
        block.first_image += block.images;
        block.first_text += block.texts;
        images_left -= block.images;
      }
    }
  }
  const auto text_counts = [data](const Block& block) {
    return data[static_cast<std::size_t>(block.data_set)]->text_counts(block.first_image,
                                                                       block.first_image + block.images);
  };
  const auto shapes = [data, image](const Block& block) {
    std::vector<Shape> shapes;
    for (std::int64_t row = block.first_image; row < block.first_image + block.images; ++row) {
      shapes.push_back(shape_of(*data[static_cast<std::size_t>(block.data_set)], row, image));
    }
    return shapes;
  };
  return {std::move(blocks), text_counts, config, seed, shapes};
}

}  // namespace pixelbert::data
