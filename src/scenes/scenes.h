// The procedural source: pictures and texts that need no download and can be made in any number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sources/corpus.h"

namespace pixelbert::scenes {

struct ScenesOptions {
  std::int64_t count = 10000;
  std::uint64_t seed = 0;
  std::string task = "pairs";
  std::int64_t level = 1;
  std::int64_t size = 96;
  std::int64_t texts = 4;
};

template <class Visitor>
void describe(ScenesOptions& options, Visitor&& field) {
  field("count", options.count, "pictures");
  field("seed", options.seed, "which scenes; no two seeds share one, so take another seed for a test set");
  field("task", options.task, "texts: pairs (captions), vqa (questions) or nlvr2 (statements about two pictures)");
  field("level", options.level, "1: one object; 2: two to four; 3: two to four, and texts relate them");
  field("size", options.size, "shorter side of a picture in pixels");
  field("texts", options.texts, "texts of a picture, for nlvr2 of two pictures");
}

// Scene i of a seed is a pure function of (seed, i, level, size), its texts also of the task. An image's id is
// seed * 2^26 + i, so that shards of several seeds keep theirs apart. Brings vocab.txt, for vqa also answers.txt: one
// answer a line, the line is the index in a record; and example.jpg and example.txt, the first picture and its texts.
sources::Corpus read_scenes(const ScenesOptions& options);

// The special tokens and every word of every text, the same for all levels, tasks and seeds.
std::vector<std::string> vocabulary();

}  // namespace pixelbert::scenes
