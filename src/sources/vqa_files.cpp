#include "sources/vqa_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/check.h"
#include "sources/json_fields.h"
#include "sources/json_stream.h"
#include "sources/vqa_answers.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

using ImageIds = std::unordered_map<std::int64_t, std::int64_t>;  // by question id

std::int64_t answer_type(const json& annotation) {
  const std::string& type = string_at(annotation, "answer_type");
  const auto row = std::ranges::find(kAnswerTypes, type);
  PB_CHECK(row != std::end(kAnswerTypes), "question {} has the answer type {}, expected one of {}",
           id_at(annotation, "question_id"), described(type), fmt::join(kAnswerTypes, ", "));
  return row - std::begin(kAnswerTypes);
}

// Official annotations name the image; other files need not.
void check_image(const json& annotation, std::int64_t question, const VqaQuestions& file, const ImageIds& asked) {
  const auto image = asked.find(question);
  if (image == asked.end() || !annotation.contains("image_id")) return;
  const std::int64_t annotated = id_at(annotation, "image_id");
  PB_CHECK(annotated == image->second, "question {} is about image {} here and about image {} in {}", question,
           annotated, image->second, file.path);
}

void check_belong(const VqaQuestions& file, const std::string& path,
                  const std::unordered_map<std::int64_t, VqaAnnotation>& annotations, const ImageIds& asked) {
  const auto mismatch = [&](std::int64_t id, const char* what) {
    fail(
        fmt::format("{} ({} questions) and {} ({} annotations) do not belong together: question {} is {}; give "
                    "--questions and --annotations in the same order",
                    file.path, file.questions.size(), path, annotations.size(), id, what));
  };
  for (const VqaQuestion& question : file.questions) {
    if (!annotations.contains(question.id)) mismatch(question.id, "not annotated");
  }
  std::optional<std::int64_t> first;
  for (const auto& [id, annotation] : annotations) {
    if (!asked.contains(id)) first = std::min(id, first.value_or(id));
  }
  if (first) mismatch(*first, "annotated but not asked");
}

}  // namespace

VqaQuestions read_questions(const std::string& path) {
  VqaQuestions file;
  file.path = path;
  const Visit question = [&](const json& object) {
    file.questions.push_back({id_at(object, "question_id"), id_at(object, "image_id"), string_at(object, "question")});
  };
  const VisitField field = [&](const std::string& name, const json& value) {
    if (name == "data_type") file.data_type = to_text(value, name);
    if (name == "data_subtype") file.data_subtype = to_text(value, name);
  };
  file.invalid_utf8 = for_each_object(path, {{"questions", question}}, field);
  PB_CHECK(!file.questions.empty(), "{}: the list \"questions\" is empty", path);
  return file;
}

std::unordered_map<std::int64_t, VqaAnnotation> read_annotations(const std::string& path, const VqaQuestions& file,
                                                                 const AnswerVocabulary& vocabulary) {
  ImageIds asked;
  for (const VqaQuestion& question : file.questions) asked.emplace(question.id, question.image_id);
  std::unordered_map<std::int64_t, VqaAnnotation> annotations;
  const Visit annotate = [&](const json& object) {
    const std::int64_t question = id_at(object, "question_id");
    check_image(object, question, file, asked);
    std::vector<std::string> given;
    for_each_in(object, "answers", [&](const json& answer) { given.push_back(string_at(answer, "answer")); });
    const VqaAnnotation annotation{vocabulary.targets(given), answer_type(object)};
    const auto [known, is_new] = annotations.try_emplace(question, annotation);
    PB_CHECK(is_new || known->second == annotation, "question {} is annotated twice, with different answers", question);
  };
  for_each_object(path, {{"annotations", annotate}});
  check_belong(file, path, annotations, asked);
  return annotations;
}

std::vector<std::string> frequent_answers(const std::vector<std::string>& annotation_paths) {
  AnswerCounts counts;
  std::unordered_set<std::int64_t> seen;
  for (const std::string& path : annotation_paths) {
    const Visit count = [&](const json& object) {
      const std::string& answer = string_at(object, "multiple_choice_answer");
      if (seen.insert(id_at(object, "question_id")).second) counts.add(answer);
    };
    for_each_object(path, {{"annotations", count}});
  }
  return counts.frequent();
}

}  // namespace pixelbert::sources
