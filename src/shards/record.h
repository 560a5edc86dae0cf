// A record of a shard: an image (or two) with all texts about it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pixelbert::shards {

struct StoredImage {
  std::int64_t id = 0;                // the source's own id (COCO image id, ...)
  std::vector<std::uint8_t> encoded;  // JPEG or PNG, as in the source
  std::int32_t height = 0;
  std::int32_t width = 0;
};

struct PixelSize {
  std::int32_t height = 0;
  std::int32_t width = 0;
};

// VQA: an index of the answer vocabulary. NLVR2: the label, 0 or 1, with score and accuracy 1.
struct Answer {
  std::int32_t index = 0;
  float score = 0;     // the soft target in training
  float accuracy = 0;  // in the task's own evaluation; in VQA v2 it is not quite `score`
  bool operator==(const Answer&) const = default;
};

struct Text {
  std::int64_t id = 0;  // the source's own id (caption, region, question id, ...)
  std::string text;     // UTF-8: a caption, region phrase, question or statement
  std::vector<Answer> answers;

  // Texts that are scored together. VQA: the row of the question's type in the manifest's option "answer-types". NLVR2:
  // the number of the sentence, which several records may share. -1: none.
  std::int64_t group = -1;
};

struct Record {
  std::vector<StoredImage> images;  // one; for NLVR2 two, left and right
  std::vector<Text> texts;          // each is about all of `images`
};

}  // namespace pixelbert::shards
