#include "sources/vqa_vocabulary.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/text_lines.h"
#include "sources/json_fields.h"
#include "sources/vqa_answers.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

// Sorts the answers of an object by their numbers.
std::vector<std::string> by_number(const json& object) {
  std::vector<std::optional<std::string>> answers(object.size());
  const bool is_label2ans = !object.empty() && object.begin()->is_string();
  for (const auto& [name, value] : object.items()) {
    const std::string& answer = is_label2ans ? to_text(value, name) : name;
    const std::int64_t number = is_label2ans ? to_id(name, name) : to_id(value, name);
    PB_CHECK(number >= 0 && number < std::ssize(answers) && !answers[number],
             "expected the {} answers to have the numbers 0 to {}, each once, found {} for {}", answers.size(),
             std::ssize(answers) - 1, number, described(answer));
    answers[number] = answer;
  }
  std::vector<std::string> in_order;
  for (auto& answer : answers) in_order.push_back(*std::move(answer));  // as many numbers as places: none is empty
  return in_order;
}

std::vector<std::string> answers_of(const json& value) {
  if (value.is_object()) return by_number(value);
  std::vector<std::string> answers;
  for (const json& answer : value) answers.push_back(to_text(answer, fmt::format("[{}]", answers.size())));
  return answers;
}

float soft_score(std::int64_t people) {
  constexpr float kScores[] = {0, 0.3F, 0.6F, 0.9F, 1};
  return kScores[std::min<std::int64_t>(people, 4)];
}

}  // namespace

void AnswerCounts::add(std::string_view multiple_choice_answer) {
  std::string answer = normalised_for_vocabulary(multiple_choice_answer);
  const auto [entry, is_new] = row_of_answer_.try_emplace(answer, counts_.size());
  if (is_new) counts_.emplace_back(std::move(answer), 0);
  ++counts_[entry->second].second;
}

std::vector<std::string> AnswerCounts::frequent() const {
  std::vector<std::string> answers;
  for (const auto& [answer, count] : counts_) {
    if (count >= kLeastQuestions) answers.push_back(answer);
  }
  return answers;
}

AnswerVocabulary::AnswerVocabulary(std::vector<std::string> answers) : answers_(std::move(answers)) {
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < answers_.size(); ++i) {
    const std::string& answer = answers_[i];
    PB_CHECK(seen.insert(answer).second, "the answer vocabulary has '{}' twice, the second time as entry {}", answer,
             i + 1);
    const bool is_a_line = answer.find_first_of(std::string_view("\r\0", 2)) == answer.npos;
    PB_CHECK(is_a_line && answer == stripped(answer),
             "entry {} of the answer vocabulary, {}, has a blank at an end, a line break, a NUL or bytes that are not "
             "UTF-8",
             i + 1, described(answer));
    rows_.emplace(answer, static_cast<std::int32_t>(i));
    rows_if_normalised_.emplace(normalised(answer), static_cast<std::int32_t>(i));
  }
}

AnswerVocabulary AnswerVocabulary::read(const std::filesystem::path& file) {
  const std::string content = read_file(file);
  const std::string_view text = without_byte_order_mark(content);
  try {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    const bool is_json = first != text.npos && (text[first] == '[' || text[first] == '{');
    AnswerVocabulary vocabulary(is_json ? answers_of(json::parse(text)) : lines_of(text));
    PB_CHECK(!vocabulary.answers_.empty(), "it has no answers");
    return vocabulary;
  } catch (const json::exception& error) {
    fail(fmt::format("{}: expected answers as JSON, or one per line: {}", file.string(), json_reason(error.what())));
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", file.string(), error.what()));
  }
}

std::vector<shards::Answer> AnswerVocabulary::targets(std::span<const std::string> given) const {
  std::map<std::int32_t, shards::Answer> targets;
  const auto target = [&](std::int32_t row) -> shards::Answer& {
    return targets.try_emplace(row, shards::Answer{row, 0, 0}).first->second;
  };
  for (const std::string& answer : given) {
    if (const auto found = rows_.find(answer); found != rows_.end()) {
      target(found->second).score = soft_score(std::ranges::count(given, answer));
    }
  }
  const GivenAnswers official(given);
  const Rows& rows = official.are_normalised() ? rows_if_normalised_ : rows_;
  for (const std::string& answer : official.as_compared()) {
    const auto accuracy = static_cast<float>(official.accuracy(answer));
    if (accuracy == 0) continue;
    const auto [first, last] = rows.equal_range(answer);
    for (auto entry = first; entry != last; ++entry) target(entry->second).accuracy = accuracy;
  }
  std::vector<shards::Answer> list;
  for (const auto& [row, answer] : targets) list.push_back(answer);
  return list;
}

}  // namespace pixelbert::sources
