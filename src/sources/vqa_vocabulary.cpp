#include "sources/vqa_vocabulary.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/check.h"
#include "core/files.h"
#include "sources/vqa_answers.h"

namespace pixelbert::sources {
namespace {

std::vector<std::string> lines_of(std::string_view content) {
  std::vector<std::string> lines;
  while (!content.empty()) {
    const std::size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    content.remove_prefix(std::min(end + 1, content.size()));
  }
  return lines;
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
    PB_CHECK(seen.insert(answer).second, "the answer vocabulary has '{}' a second time, as entry {}", answer, i + 1);
    PB_CHECK(answer == stripped(answer),
             "entry {} of the answer vocabulary, '{}', has a blank at an end or a line break", i + 1, answer);
    rows_.emplace(answer, static_cast<std::int32_t>(i));
    rows_if_normalised_.emplace(normalised(answer), static_cast<std::int32_t>(i));
  }
}

AnswerVocabulary AnswerVocabulary::read(const std::filesystem::path& file) {
  const std::string content = read_file(file);
  try {
    const std::size_t first = content.find_first_not_of(" \t\r\n");
    const bool is_json = first != content.npos && content[first] == '[';
    AnswerVocabulary vocabulary(is_json ? nlohmann::json::parse(content).get<std::vector<std::string>>()
                                        : lines_of(content));
    PB_CHECK(!vocabulary.answers_.empty(), "it has no answer");
    return vocabulary;
  } catch (const nlohmann::json::exception& error) {
    fail(fmt::format("{}: expected a JSON list of answers: {}", file.string(), error.what()));
  } catch (const Error& error) {
    fail(fmt::format("{}: {}", file.string(), error.what()));
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
