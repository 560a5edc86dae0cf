#include "sources/vqa_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/check.h"
#include "sources/json_stream.h"
#include "sources/vqa_answers.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

std::int64_t answer_type(const json& annotation, const std::string& path) {
  const auto& type = annotation.at("answer_type").get_ref<const std::string&>();
  const auto row = std::ranges::find(kAnswerTypes, type);
  PB_CHECK(row != std::end(kAnswerTypes), "{}: question {} has the answer type '{}', expected one of {}", path,
           annotation.at("question_id").get<std::int64_t>(), type, fmt::join(kAnswerTypes, ", "));
  return row - std::begin(kAnswerTypes);
}

void check_belong(const VqaQuestions& file, const std::string& path,
                  const std::unordered_map<std::int64_t, VqaAnnotation>& annotations) {
  const auto mismatch = [&](std::int64_t id, const char* what) {
    fail(
        fmt::format("{} ({} questions) and {} ({} annotations) do not belong together: question {} is {}; give "
                    "--questions and --annotations in the same order",
                    file.path, file.questions.size(), path, annotations.size(), id, what));
  };
  std::unordered_set<std::int64_t> asked;
  for (const VqaQuestion& question : file.questions) {
    if (!annotations.contains(question.id)) mismatch(question.id, "not annotated");
    asked.insert(question.id);
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
  const Visit question = [&](std::string_view list, const json& object) {
    if (list != "questions") return;
    file.questions.push_back({object.at("question_id").get<std::int64_t>(), object.at("image_id").get<std::int64_t>(),
                              object.at("question").get<std::string>()});
  };
  const Visit field = [&](std::string_view name, const json& value) {
    if (name == "data_type") value.get_to(file.data_type);
    if (name == "data_subtype") value.get_to(file.data_subtype);
  };
  file.invalid_utf8 = for_each_object(path, question, field);
  PB_CHECK(!file.questions.empty(), "{} has no list \"questions\", or an empty one", path);
  return file;
}

std::unordered_map<std::int64_t, VqaAnnotation> read_annotations(const std::string& path, const VqaQuestions& file,
                                                                 const AnswerVocabulary& vocabulary) {
  std::unordered_map<std::int64_t, VqaAnnotation> annotations;
  for_each_object(path, [&](std::string_view list, const json& object) {
    if (list != "annotations") return;
    std::vector<std::string> given;
    for (const json& answer : object.at("answers")) given.push_back(answer.at("answer").get<std::string>());
    annotations.try_emplace(object.at("question_id").get<std::int64_t>(),
                            VqaAnnotation{vocabulary.targets(given), answer_type(object, path)});
  });
  check_belong(file, path, annotations);
  return annotations;
}

std::vector<std::string> frequent_answers(const std::vector<std::string>& annotation_paths) {
  AnswerCounts counts;
  std::unordered_set<std::int64_t> seen;
  for (const std::string& path : annotation_paths) {
    for_each_object(path, [&](std::string_view list, const json& object) {
      if (list != "annotations" || !seen.insert(object.at("question_id").get<std::int64_t>()).second) return;
      counts.add(object.at("multiple_choice_answer").get_ref<const std::string&>());
    });
  }
  return counts.frequent();
}

}  // namespace pixelbert::sources
