// Scores answers for tests/parity/vqa_answers_parity.py.
//
//   score_vqa_answers frequent ANNOTATIONS...    the vocabulary of these files, as a JSON list
//   score_vqa_answers normalise                  strings in; [normalised, for the vocabulary] out
//   score_vqa_answers score VOCABULARY           {"answers": [...], "predictions": [...]} in; out
//                                                {"accuracy": [...], "targets": [[index, score, accuracy], ...]}
//
// Writes a line of JSON for each line that it reads.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sources/vqa_answers.h"
#include "sources/vqa_files.h"
#include "sources/vqa_vocabulary.h"

namespace {

using namespace pixelbert::sources;
using nlohmann::json;

json normalise(const json& line) {
  const auto& answer = line.get_ref<const std::string&>();
  return {normalised(answer), normalised_for_vocabulary(answer)};
}

json score(const json& line, const AnswerVocabulary& vocabulary) {
  const auto answers = line.at("answers").get<std::vector<std::string>>();
  json accuracy = json::array(), targets = json::array();
  for (const json& prediction : line.at("predictions")) {
    accuracy.push_back(official_accuracy(prediction.get_ref<const std::string&>(), answers));
  }
  for (const auto& target : vocabulary.targets(answers)) {
    targets.push_back({target.index, target.score, target.accuracy});
  }
  return {{"accuracy", accuracy}, {"targets", targets}};
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string mode = arguments.empty() ? "" : arguments[0];
  std::string line;
  if (mode == "frequent") {
    std::cout << json(frequent_answers({arguments.begin() + 1, arguments.end()})) << "\n";
  } else if (mode == "normalise") {
    while (std::getline(std::cin, line)) std::cout << normalise(json::parse(line)) << "\n";
  } else if (mode == "score" && arguments.size() == 2) {
    const AnswerVocabulary vocabulary = AnswerVocabulary::read(arguments[1]);
    while (std::getline(std::cin, line)) std::cout << score(json::parse(line), vocabulary) << "\n";
  } else {
    std::cerr << "usage: score_vqa_answers frequent ANNOTATIONS... | normalise | score VOCABULARY\n";
    return 2;
  }
  return 0;
}
