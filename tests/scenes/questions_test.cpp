#include "scenes/questions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "core/check.h"
#include "scenes/captions.h"
#include "tests/scenes/oracle.h"

namespace pixelbert::scenes {
namespace {

constexpr std::int64_t kSize = 96;

struct Asked {
  Scene scene;
  std::vector<Question> questions;
};

std::vector<Asked> ask(std::int64_t level, std::int64_t scenes, std::int64_t texts) {
  std::vector<Asked> all;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(scenes); ++i) {
    Scene scene = make_scene(level, kSize, key(i, 0));
    std::vector<Question> some = questions(scene, level, texts, key(i, 1));
    all.push_back({std::move(scene), std::move(some)});
  }
  return all;
}

// The right answer for the scene; empty unless "the" object is unique.
std::string answer(const Scene& scene, const test::Reading& reading) {
  const auto yes_or_no = [](bool yes) { return yes ? "yes" : "no"; };
  if (reading.says("how many")) return std::string(kNumberNames[scene.objects.size()]);
  if (reading.says("are there")) {
    return yes_or_no(reading.slots.at('n') == static_cast<std::int64_t>(scene.objects.size()));
  }
  const std::vector<Object> found = test::fitting(scene, reading.slots);
  if (reading.form.starts_with("is ")) return yes_or_no(!found.empty());
  if (found.size() != 1) return "";
  if (reading.says("what color")) return std::string(kColourNames[test::attribute(found[0], 'c')]);
  if (reading.says("what shape")) return std::string(kShapeNames[test::attribute(found[0], 's')]);
  if (reading.says("what size")) return std::string(kSizeNames[test::attribute(found[0], 'z')]);
  return std::string(kPlaceNames[found[0].place]);
}

class SceneQuestions : public ::testing::TestWithParam<std::int64_t> {};
INSTANTIATE_TEST_SUITE_P(Level, SceneQuestions, ::testing::Values(1, 2, 3));

TEST_P(SceneQuestions, AreAnsweredAsOneWhoSeesWould) {
  std::set<std::string_view> forms;
  for (const Asked& asked : ask(GetParam(), 500, kMostTexts)) {
    std::set<std::string> texts;
    for (const Question& question : asked.questions) {
      const test::Reading reading = test::read(question_forms(), question.text);
      ASSERT_FALSE(reading.form.empty()) << question.text;
      ASSERT_EQ(question.answer, answer(asked.scene, reading)) << question.text;
      ASSERT_EQ(std::ranges::count(answers(), question.answer), 1) << question.answer;
      ASSERT_TRUE(texts.insert(question.text).second) << question.text;
      forms.insert(reading.form);
    }
    ASSERT_EQ(asked.questions.size(), static_cast<std::size_t>(kMostTexts));
  }
  EXPECT_EQ(forms.size(), GetParam() == 1 ? 17U : GetParam() == 2 ? 20U : question_forms().size());
}

// "Is the star red ?" means a single star, also without knowing whether it is red.
TEST_P(SceneQuestions, AskAboutOneObjectWhereTheySayThe) {
  const std::map<std::string_view, char> asked_of = {
      {"is the {s} {c} ?", 'c'}, {"is the {c} object a {s} ?", 's'}, {"is the {c} {s} {z} ?", 'z'}};
  for (const Asked& asked : ask(GetParam(), 500, 4)) {
    for (const Question& question : asked.questions) {
      test::Reading reading = test::read(question_forms(), question.text);
      const auto found = asked_of.find(reading.form);
      if (found == asked_of.end()) continue;
      reading.slots.erase(found->second);
      EXPECT_EQ(test::fitting(asked.scene, reading.slots).size(), 1U) << question.text;
    }
  }
}

// A reader without the image: for each form, what its words (and whether one is repeated) reveal about the answer.
TEST_P(SceneQuestions, DoNotGiveTheirAnswersAway) {
  std::map<std::tuple<std::string_view, char, std::int64_t>, std::map<std::string, std::int64_t>> seen;
  std::map<std::string_view, std::map<std::string, std::int64_t>> of_form;
  for (const Asked& asked : ask(GetParam(), 20000, 4)) {
    for (const Question& question : asked.questions) {
      const test::Reading reading = test::read(question_forms(), question.text);
      ++of_form[reading.form][question.answer];
      for (const auto& [slot, value] : reading.slots) {
        ++seen[{reading.form, slot, value}][question.answer];
        const auto other = reading.slots.find(static_cast<char>(slot & ~0x20));
        if (other == reading.slots.end() || other->first == slot) continue;
        ++seen[{reading.form, '=', 2 * slot + (other->second == value)}][question.answer];
      }
    }
  }
  const auto is_even = [](const std::map<std::string, std::int64_t>& counts, const std::string& what) {
    std::int64_t all = 0;
    for (const auto& [word, count] : counts) all += count;
    for (const auto& [word, count] : counts) {
      EXPECT_TRUE(test::is_fair(count, all, 1.0 / static_cast<double>(counts.size())))
          << what << ": " << word << ' ' << count << " of " << all;
    }
  };
  for (const auto& [form, counts] : of_form) is_even(counts, std::string(form));
  for (const auto& [word, counts] : seen) {
    const auto& [form, slot, value] = word;
    is_even(counts, fmt::format("{} with {}{}", form, slot, value));
  }
}

TEST_P(SceneQuestions, AreAFunctionOfTheirKey) {
  const Scene scene = make_scene(GetParam(), kSize, 1);
  const auto texts = [&](std::uint64_t key) {
    std::vector<std::string> said;
    for (const Question& question : questions(scene, GetParam(), 6, key)) said.push_back(question.text);
    return said;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
}

TEST(SceneAnswers, AreAllDifferent) {
  EXPECT_EQ(std::set<std::string>(answers().begin(), answers().end()).size(), answers().size());
}

}  // namespace
}  // namespace pixelbert::scenes
