// What is stored together: a picture and everything said about it, as plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pixelbert::shards {

struct Picture {
  std::int64_t id = 0;                // the source's own id (COCO image id, ...)
  std::vector<std::uint8_t> encoded;  // JPEG or PNG, as it came
  std::int32_t height = 0;
  std::int32_t width = 0;
};

// VQA: an index of the answer vocabulary with its soft score. NLVR2: the label, 0 or 1, with score 1.
struct Answer {
  std::int32_t index = 0;
  float score = 0;
  bool operator==(const Answer&) const = default;
};

struct Text {
  std::int64_t id = 0;  // the source's own id (caption, region, question id, ...)
  std::string text;     // UTF-8: a caption, region phrase, question or statement
  std::vector<Answer> answers;
};

struct Record {
  std::vector<Picture> pictures;  // one; for NLVR2 two, left and right
  std::vector<Text> texts;        // each is about all of `pictures`
};

}  // namespace pixelbert::shards
