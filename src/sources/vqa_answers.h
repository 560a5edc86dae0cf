// How answers are compared in VQA v2: the rules of the official evaluation (vqaEval.py of GT-Vision-Lab/VQA), including
// its slips, because published scores have them too.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::sources {

// Scores are also given by answer type.
constexpr std::string_view kAnswerTypes[] = {"yes/no", "number", "other"};

// Returns the answer as the evaluation reads it: line breaks and tabs become spaces, and both ends are trimmed.
std::string stripped(std::string_view answer);

// Removes punctuation and articles, lowers case, writes numbers up to ten as digits, restores apostrophes in
// contractions.
//
// Letters, digits and blanks of Unicode are Python's, except for the two forms of a small Greek sigma. Invalid UTF-8
// becomes U+FFFD.
std::string normalised(std::string_view answer);

// The form of an answer vocabulary's entries, after bottom-up-attention-vqa: `normalised` without commas.
std::string normalised_for_vocabulary(std::string_view answer);

// The answers that people gave to one question, in the form in which the evaluation compares them with a prediction.
class GivenAnswers {
 public:
  explicit GivenAnswers(std::span<const std::string> raw);

  // The evaluation normalises only where people disagree; otherwise "two" stays "two" and a predicted "2" is wrong.
  bool are_normalised() const { return are_normalised_; }
  const std::vector<std::string>& as_compared() const { return as_compared_; }

  std::string prediction_as_compared(std::string_view prediction) const;

  // Returns the accuracy of a prediction in the compared form: each person counts a third for each of the *others* who
  // gave this answer, at most 1; the mean over people. With ten people: 0, 0.3, 0.6, 0.9 and 1 if 0, 1, 2, 3 and 4 gave
  // it.
  double accuracy(std::string_view prediction_as_compared) const;

 private:
  bool are_normalised_ = false;
  std::vector<std::string> as_compared_;
};

// The official accuracy of an unprocessed prediction.
double official_accuracy(std::string_view prediction, std::span<const std::string> answers);

}  // namespace pixelbert::sources
