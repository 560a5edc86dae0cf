// VQA v2: official question and annotation files, and others in their form.
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
        "v2_mscoco_*_annotations.json, one for each file of questions in the same order; none for a test set");
  field("answers", options.answers,
        "answer vocabulary: one answer a line, or label2ans or ans2label as JSON; when empty, the answers that are the "
        "most common one of 9 questions or more");
  field("images", options.images, "folder of the pictures; its sub-folders are looked into");
  field("image-pattern", options.image_pattern,
        "file name of a picture, with {image_id} and {data_subtype}; when empty, that of COCO");
}

// The questions about a picture are one record, with AnswerVocabulary::targets as answers and the row of the answer
// type in the manifest's option "answer-types" as group. Brings answers.txt. A question none of whose answers is in the
// vocabulary is kept; option "questions-without-answer" is their number, and more than a fifth are worth a warning.
Corpus read_vqa(const VqaOptions& options);

}  // namespace pixelbert::sources
