#include "sources/vqa_questions.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/log.h"
#include "sources/annotated_images.h"
#include "sources/vqa_answers.h"
#include "sources/vqa_files.h"

namespace pixelbert::sources {
namespace {

constexpr const char* kExamplePattern = "COCO_train2014_{image_id:012}.jpg";

// File names of the images that a question file is about.
class ImageNames {
 public:
  ImageNames(std::string pattern, const VqaQuestions& file) : pattern_(std::move(pattern)), subset_(file.data_subtype) {
    if (subset_ == "test-dev2015") subset_ = "test2015";  // some of its images
    if (pattern_.empty()) {
      if (file.data_type != "mscoco" || subset_.empty()) {
        throw UsageError(
            fmt::format("{} does not say which COCO images it is about (\"data_type\": \"mscoco\" and "
                        "\"data_subtype\"): give --image-pattern, for example '{}'",
                        file.path, kExamplePattern));
      }
      pattern_ = "COCO_{data_subtype}_{image_id:012}.jpg";
    }
    check(file.path);
  }

  std::string name(std::int64_t image_id) const {
    return fmt::format(fmt::runtime(pattern_), fmt::arg("image_id", image_id), fmt::arg("data_subtype", subset_));
  }

  const std::string& subset() const { return subset_; }

 private:
  void check(const std::string& path) const {
    const auto refuse = [&](std::string_view why) {
      throw UsageError(
          fmt::format("--image-pattern '{}': {}; expected for example '{}'", pattern_, why, kExamplePattern));
    };
    try {
      if (name(1) == name(2)) refuse("it does not contain {image_id}");
    } catch (const fmt::format_error& error) {
      refuse(error.what());
    }
    if (subset_.empty() && pattern_.find("{data_subtype") != pattern_.npos) {
      refuse(fmt::format("{} has no \"data_subtype\"", path));
    }
  }

  std::string pattern_, subset_;
};

AnswerVocabulary vocabulary_for(const VqaOptions& options) {
  if (!options.answers.empty()) return AnswerVocabulary::read(options.answers);
  if (options.annotations.empty()) return AnswerVocabulary({});
  AnswerVocabulary made(frequent_answers(options.annotations));
  PB_CHECK(!made.answers().empty(), "no answer is the most common one to {} questions of {}: give --answers FILE",
           AnswerCounts::kLeastQuestions, fmt::join(options.annotations, ", "));
  log::info(
      "{} answers are each the most common one to {} questions or more; for another split give --answers the "
      "answers.txt written here",
      made.answers().size(), AnswerCounts::kLeastQuestions);
  return made;
}

shards::Manifest header_for(const VqaOptions& options) {
  shards::Manifest header;
  header.source = "vqa";
  header.task = "vqa";
  header.options = {{"questions", joined_names(options.questions)},
                    {"answer-types", fmt::to_string(fmt::join(kAnswerTypes, ","))}};
  if (!options.annotations.empty()) header.options["annotations"] = joined_names(options.annotations);
  if (!options.answers.empty()) header.options["answers"] = joined_names({options.answers});
  return header;
}

// The usual vocabulary has an answer to nine questions in ten.
void warn_of_strange_vocabulary(std::int64_t questions, std::int64_t without_answer, const VqaOptions& options) {
  constexpr double kUsual = 0.8;
  const double share = 1 - static_cast<double>(without_answer) / static_cast<double>(questions);
  if (share >= kUsual) return;
  log::warn(
      "only {} of {} questions ({:.0f} %) have an answer in the vocabulary{}: the others teach that no answer is "
      "right, and score 0; "
      "does it belong to this data set?",
      questions - without_answer, questions, 100 * share,
      options.answers.empty() ? " made from the frequent answers here" : " " + options.answers);
}

}  // namespace

Corpus read_vqa(const VqaOptions& options) {
  require_option("vqa", "questions FILE", !options.questions.empty());
  require_option("vqa", "images DIR", !options.images.empty());
  const bool annotated = !options.annotations.empty();
  if (annotated && options.annotations.size() != options.questions.size()) {
    throw UsageError(fmt::format("--annotations: expected one for each of the {} files of --questions, found {}",
                                 options.questions.size(), options.annotations.size()));
  }
  ImageFolder folder(options.images);
  const AnswerVocabulary vocabulary = vocabulary_for(options);

  AnnotatedImages images(header_for(options));
  std::int64_t questions = 0, without_answer = 0;
  std::vector<std::string> subsets;                             // of each file
  std::unordered_map<std::int64_t, std::size_t> file_of_image;  // the first that names it
  for (std::size_t i = 0; i < options.questions.size(); ++i) {
    VqaQuestions file = read_questions(options.questions[i]);
    images.begin_file(file.path);
    images.count_repaired(file.invalid_utf8);
    questions += static_cast<std::int64_t>(file.questions.size());
    const ImageNames names(options.image_pattern, file);
    subsets.push_back(names.subset());
    std::unordered_map<std::int64_t, VqaAnnotation> annotations;
    if (annotated) annotations = read_annotations(options.annotations[i], file, vocabulary);
    for (VqaQuestion& question : file.questions) {
      const VqaAnnotation annotation = annotated ? annotations.at(question.id) : VqaAnnotation();
      without_answer += annotation.answers.empty();
      images.add_image(question.image_id, {names.name(question.image_id)});
      // A pattern without {data_subtype} gives images of two subsets the same name.
      const std::size_t first = file_of_image.try_emplace(question.image_id, i).first->second;
      PB_CHECK(subsets[first] == subsets[i],
               "image id {} is of {} in {} and of {} in {}: an id must belong to one image; make a shard folder from "
               "each file",
               question.image_id, subsets[first], options.questions[first], subsets[i], file.path);
      images.add_text(question.image_id, {question.id, std::move(question.text), annotation.answers, annotation.group});
    }
  }

  Corpus corpus = std::move(images).corpus(std::move(folder));
  if (annotated) {
    corpus.header.options["questions-without-answer"] = std::to_string(without_answer);
    warn_of_strange_vocabulary(questions, without_answer, options);
  }
  if (!vocabulary.answers().empty()) {
    corpus.files["answers.txt"] = fmt::format("{}\n", fmt::join(vocabulary.answers(), "\n"));
  }
  return corpus;
}

}  // namespace pixelbert::sources
