#include "data/data_sets.h"

#include <algorithm>
#include <filesystem>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::data {

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

SampleStream make_stream(const DataSets& data, const StreamConfig& config, std::uint64_t seed) {
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
  return {std::move(blocks), text_counts, config, seed};
}

}  // namespace pixelbert::data
