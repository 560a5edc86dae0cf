// The answers that VQA chooses from, and their targets for a question's ten answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "shards/record.h"

namespace pixelbert::sources {

// The usual vocabulary: every answer that is the most common one to `kLeastQuestions` or more questions. For train2014
// and val2014 it has 3129 entries.
class AnswerCounts {
 public:
  static constexpr std::int64_t kLeastQuestions = 9;

  void add(std::string_view multiple_choice_answer);

  // Normalised, in order of first occurrence.
  std::vector<std::string> frequent() const;

 private:
  std::unordered_map<std::string, std::size_t> row_of_answer_;
  std::vector<std::pair<std::string, std::int64_t>> counts_;
};

class AnswerVocabulary {
 public:
  // Throws Error when an answer occurs twice or does not fit on one line.
  explicit AnswerVocabulary(std::vector<std::string> answers);

  // Reads one answer per line, or JSON: a list of answers, or an object from numbers to answers (label2ans) or from
  // answers to numbers (ans2label). The numbers are 0 to n - 1. An empty line is the empty answer: "the" normalises to
  // it. Throws Error naming the file when it is anything else.
  static AnswerVocabulary read(const std::filesystem::path& file);

  const std::vector<std::string>& answers() const { return answers_; }

  // Returns the entries with a score or an accuracy above 0, in the vocabulary's order.
  //
  // score: 0.3, 0.6, 0.9 or 1 for 1, 2, 3 or more people. As for published targets, answers are compared as written,
  // not normalised: "Yes." is no vote for "yes". accuracy: as the official evaluation computes it.
  std::vector<shards::Answer> targets(std::span<const std::string> given) const;

 private:
  using Rows = std::unordered_multimap<std::string, std::int32_t>;

  std::vector<std::string> answers_;
  Rows rows_, rows_if_normalised_;  // entries by the form in which they are compared
};

}  // namespace pixelbert::sources
