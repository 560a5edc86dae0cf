// NLVR2: statements about two pictures, from its JSON Lines files (train.json, dev.json, test1.json, ...).
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
  field("images", options.images, "folder of the pictures; its sub-folders are looked into, at any depth");
}

// The statements about a pair of pictures are one record. The label is the answer: 1 for true, 0 for false. A text's id
// is its identifier without the prefix, which is the manifest's option "identifiers"; its group is the sentence, which
// is the identifier without the pair.
Corpus read_nlvr2(const Nlvr2Options& options);

// "dev-850-2-0" is sentence 0 of set 850, said of pair 2.
struct Nlvr2Identifier {
  std::string prefix;   // "dev"
  std::int64_t id = 0;  // set, pair and sentence
};

// Error when it is no such identifier.
Nlvr2Identifier parse_nlvr2_identifier(std::string_view identifier);

// The identifier again.
std::string nlvr2_identifier(std::string_view prefix, std::int64_t id);

// The same for all pairs of which the sentence is said.
std::int64_t nlvr2_sentence(std::int64_t id);

}  // namespace pixelbert::sources
