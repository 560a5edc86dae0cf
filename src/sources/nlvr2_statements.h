// NLVR2: statements about two images, from its JSON Lines files (train.json, dev.json, test1.json, ...).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sources/corpus.h"

namespace pixelbert::sources {

struct Nlvr2Options {
  std::vector<std::string> statements;
  std::string images;
};

template <class Visitor>
void describe(Nlvr2Options& options, Visitor&& field) {
  field("statements", options.statements, "train.json, dev.json, ... (JSON Lines); repeatable for files of one split");
  field("images", options.images, "folder of images; subfolders are searched, too, at any depth");
}

// Makes one record of all statements about the same two images. The label is the answer: 1 for true, 0 for false. A
// text's id is its identifier without the prefix, which is the manifest's option "identifiers"; its group is the
// sentence, which is the identifier without the images.
Corpus read_nlvr2(const Nlvr2Options& options);

// "dev-850-2-0" is sentence 0 of set 850 about its images 2, which NLVR2 calls pair 2.
struct Nlvr2Identifier {
  std::string prefix;   // "dev"
  std::int64_t id = 0;  // set, images and sentence
};

// Throws Error when it is no such identifier.
Nlvr2Identifier parse_nlvr2_identifier(std::string_view identifier);

// The inverse: prefix and id to identifier.
std::string nlvr2_identifier(std::string_view prefix, std::int64_t id);

// The same for all images that the sentence is about.
std::int64_t nlvr2_sentence(std::int64_t id);

}  // namespace pixelbert::sources
