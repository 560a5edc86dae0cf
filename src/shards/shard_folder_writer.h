// Fills a shard folder: plans files, writes each aside and renames it when whole, the manifest last.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "shards/manifest.h"

namespace pixelbert::shards {

struct TextRecord {
  std::int64_t id = 0;    // the source's own id
  std::string text;       // UTF-8: caption, region phrase, question or statement
  std::int64_t second_image = -1;  // NLVR2: position (in the list of images) of the right picture; -1 for none
  std::vector<std::pair<std::int32_t, float>> answers;  // VQA: (answer, score); NLVR2: (label, 1)
};

// One picture with everything said about it, before its bytes are read.
struct ImageRecord {
  std::int64_t id = 0;  // the source's own id
  std::string name;     // for messages
  std::vector<TextRecord> texts;
};

struct Picture {
  std::vector<std::uint8_t> encoded;
  std::int32_t width = 0;
  std::int32_t height = 0;
};

struct WriterOptions {
  std::filesystem::path folder;
  std::int64_t shard_mib = 256;  // a file is closed when its pictures reach this
};

// Reads (or draws) the picture of images[i]: nothing when it is bad, after having reported it. Called once per image
// and pass, in order; contiguous data sets need their size first, hence two passes: `size` is asked first.
struct PictureSource {
  std::function<std::optional<std::int64_t>(std::size_t)> encoded_bytes;
  std::function<std::optional<Picture>(std::size_t)> read;
};

}  // namespace pixelbert::shards
