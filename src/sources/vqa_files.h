// Reads the question and annotation files of VQA v2.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "shards/record.h"
#include "sources/vqa_vocabulary.h"

namespace pixelbert::sources {

struct VqaQuestion {
  std::int64_t id = 0;
  std::int64_t image_id = 0;
  std::string text;
};

struct VqaQuestions {
  std::string path;
  std::string data_type, data_subtype;  // "mscoco", "train2014"; empty when the file does not say
  std::vector<VqaQuestion> questions;
  std::int64_t invalid_utf8 = 0;  // sequences that were replaced
};
VqaQuestions read_questions(const std::string& path);

struct VqaAnnotation {
  std::vector<shards::Answer> answers;
  std::int64_t group = -1;  // row of kAnswerTypes
  bool operator==(const VqaAnnotation&) const = default;
};

// Returns annotations by question id. Throws Error unless `path` annotates exactly the questions of `file`, about the
// same images.
std::unordered_map<std::int64_t, VqaAnnotation> read_annotations(const std::string& path, const VqaQuestions& file,
                                                                 const AnswerVocabulary& vocabulary);

// Returns the entries of the usual vocabulary (AnswerCounts), in the order of the files. A question that occurs twice
// counts once.
std::vector<std::string> frequent_answers(const std::vector<std::string>& annotation_paths);

}  // namespace pixelbert::sources
