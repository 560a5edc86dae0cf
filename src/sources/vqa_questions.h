// VQA v2: official question and annotation files, and others in the same form.
#pragma once

#include <string>
#include <vector>

#include "sources/corpus.h"

namespace pixelbert::sources {

struct VqaOptions {
  std::vector<std::string> questions;
  std::vector<std::string> annotations;
  std::string answers;
  std::string images;
  std::string image_pattern;
};

template <class Visitor>
void describe(VqaOptions& options, Visitor&& field) {
  field("questions", options.questions, "v2_OpenEnded_mscoco_*_questions.json; repeatable, train before val");
  field("annotations", options.annotations,
        "v2_mscoco_*_annotations.json, one per question file in the same order; none for a test set");
  field("answers", options.answers,
        "answer vocabulary: one answer per line, or label2ans or ans2label as JSON; if empty, each answer that is the "
        "most common one to 9 or more questions");
  field("images", options.images, "folder of images; subfolders are searched, too");
  field("image-pattern", options.image_pattern,
        "file name of an image, with {image_id} and {data_subtype}; if empty, COCO's");
}

// Makes one record of all questions about an image, with AnswerVocabulary::targets as answers and the answer type's row
// in the manifest's option "answer-types" as group. Adds answers.txt. Keeps a question without an answer in the
// vocabulary; option "questions-without-answer" is their number, and more than a fifth give a warning.
Corpus read_vqa(const VqaOptions& options);

}  // namespace pixelbert::sources
