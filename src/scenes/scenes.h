// The procedural source: images and texts in any number, without a download.
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
  field("count", options.count, "images");
  field("seed", options.seed, "which scenes; two seeds share none, so use another seed for a test set");
  field("task", options.task, "texts: pairs (captions), vqa (questions) or nlvr2 (statements about two images)");
  field("level", options.level, "1: one object; 2: two to four; 3: two to four, and texts relate them");
  field("size", options.size, "shorter side of an image in pixels");
  field("texts", options.texts, "texts per image; for nlvr2, per pair of images");
}

// Scene i of a seed is a pure function of (seed, i, level, size), its texts also of the task. An image's id is seed *
// 2^26 + i, so that shards of several seeds share no ids. Adds vocab.txt; for vqa answers.txt, whose line numbers are
// the indices in records; and example.jpg and example.txt, the first image and its texts.
sources::Corpus read_scenes(const ScenesOptions& options);

// Returns the special tokens and all words of all texts, the same for all levels, tasks and seeds.
std::vector<std::string> vocabulary();

}  // namespace pixelbert::scenes
