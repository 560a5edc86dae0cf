// How answers are compared in VQA v2: the rules of the official evaluation (vqaEval.py of GT-Vision-Lab/VQA), with its
// slips, because published figures have them too.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::sources {

// Questions are scored by the type of their answers too.
constexpr std::string_view kAnswerTypes[] = {"yes/no", "number", "other"};

// As the evaluation reads an answer: line breaks and tabs are spaces, and no blanks are at its ends.
std::string stripped(std::string_view answer);

// Punctuation gone, lower case, numbers up to ten as digits, no articles, apostrophes back in contractions.
//
// Unicode's letters, digits and blanks as Python has them, but for the two forms of a small Greek sigma. What is not
// UTF-8 becomes U+FFFD.
std::string normalised(std::string_view answer);

// The form of an answer vocabulary's entries, after bottom-up-attention-vqa: `normalised` without commas.
std::string normalised_for_vocabulary(std::string_view answer);

// What people answered to one question, in the form in which the evaluation compares it with a prediction.
class GivenAnswers {
 public:
  explicit GivenAnswers(std::span<const std::string> raw);

  // Only where people disagree does the evaluation normalise; else "two" stays "two" and a predicted "2" is wrong.
  bool are_normalised() const { return are_normalised_; }
  const std::vector<std::string>& as_compared() const { return as_compared_; }

  std::string prediction_as_compared(std::string_view prediction) const;

  // Of a prediction in the compared form: for each person, a third for each of the *others* who say so, at most 1; the
  // mean over people. With ten of them 0, 0.3, 0.6, 0.9 and 1 for 0, 1, 2, 3 and 4 who say so.
  double accuracy(std::string_view prediction_as_compared) const;

 private:
  bool are_normalised_ = false;
  std::vector<std::string> as_compared_;
};

// All in one: what the evaluation gives a prediction as it was made.
double official_accuracy(std::string_view prediction, std::span<const std::string> answers);

}  // namespace pixelbert::sources
