#include "scenes/statements.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <set>
#include <tuple>

#include "core/check.h"
#include "scenes/captions.h"
#include "tests/scenes/oracle.h"

namespace pixelbert::scenes {
namespace {

constexpr std::int64_t kSize = 96;

struct Said {
  Scene left, right;
  std::vector<Statement> statements;
};

std::vector<Said> say_all(std::int64_t level, std::int64_t count, std::int64_t texts) {
  std::vector<Said> all;
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(count); ++i) {
    Scene left = make_scene(level, kSize, key(i, 0));
    Scene right = make_right_scene(left, level, kSize, key(i, 1));
    std::vector<Statement> some = statements(left, right, level, texts, key(i, 2));
    all.push_back({std::move(left), std::move(right), std::move(some)});
  }
  return all;
}

bool is_so(const Said& said, const test::Reading& reading) {
  const auto found = [&](const Scene& scene) { return !test::fitting(scene, reading.slots).empty(); };
  const Object &a = said.left.objects.front(), &b = said.right.objects.front();
  if (reading.says("more objects")) {
    const bool left_has = said.left.objects.size() > said.right.objects.size();
    return left_has == reading.says("left");
  }
  if (reading.says("left one") || reading.says("right one"))
    return test::stands(a, kRelationNames[reading.slots.at('r')], b);
  if (reading.says("left picture")) return found(said.left);
  if (reading.says("right picture")) return found(said.right);
  if (reading.says("same") || reading.says("differ")) {
    const char slot = reading.says("color") ? 'c' : reading.says("shape") ? 's' : 'z';
    return (test::attribute(a, slot) == test::attribute(b, slot)) == reading.says("same");
  }
  if (reading.says("only one")) return found(said.left) != found(said.right);
  return found(said.left) && found(said.right);
}

class SceneStatements : public ::testing::TestWithParam<std::int64_t> {};
INSTANTIATE_TEST_SUITE_P(Level, SceneStatements, ::testing::Values(1, 2, 3));

TEST_P(SceneStatements, AreTrueWhereOneWhoSeesWouldSaySo) {
  std::set<std::string_view> forms;
  for (const Said& said : say_all(GetParam(), 500, kMostTexts)) {
    std::set<std::string> texts;
    for (const Statement& statement : said.statements) {
      const test::Reading reading = test::read(statement_forms(), statement.text);
      ASSERT_FALSE(reading.form.empty()) << statement.text;
      ASSERT_EQ(statement.is_true, is_so(said, reading)) << statement.text;
      ASSERT_TRUE(texts.insert(statement.text).second) << statement.text;
      forms.insert(reading.form);
    }
    ASSERT_EQ(said.statements.size(), static_cast<std::size_t>(kMostTexts));
  }
  EXPECT_EQ(forms.size(), GetParam() == 1 ? 15U : GetParam() == 2 ? 10U : 12U);
}

TEST_P(SceneStatements, AreTrueHalfOfTheTimeWhateverTheirWords) {
  std::map<std::tuple<std::string_view, char, std::int64_t>, std::array<std::int64_t, 2>> seen;
  for (const Said& said : say_all(GetParam(), 10000, 4)) {
    for (const Statement& statement : said.statements) {
      const test::Reading reading = test::read(statement_forms(), statement.text);
      ++seen[{reading.form, 0, 0}][statement.is_true];
      for (const auto& [slot, value] : reading.slots) {
        ++seen[{reading.form, slot, value}][statement.is_true];
        const auto other = reading.slots.find(static_cast<char>(slot & ~0x20));
        if (other == reading.slots.end() || other->first == slot) continue;
        ++seen[{reading.form, '=', 2 * slot + (other->second == value)}][statement.is_true];
      }
    }
  }
  for (const auto& [word, counts] : seen) {
    const auto& [form, slot, value] = word;
    EXPECT_TRUE(test::is_fair(counts[1], counts[0] + counts[1]))
        << form << " with " << slot << value << ": " << counts[1] << " of " << counts[0] + counts[1];
  }
}

TEST_P(SceneStatements, AreAFunctionOfTheirKey) {
  const Scene left = make_scene(GetParam(), kSize, 1);
  const Scene right = make_right_scene(left, GetParam(), kSize, 1);
  EXPECT_EQ(right.ground.grain_key, make_right_scene(left, GetParam(), kSize, 1).ground.grain_key);
  const auto texts = [&](std::uint64_t key) {
    std::vector<std::string> said;
    for (const Statement& statement : statements(left, right, GetParam(), 6, key)) said.push_back(statement.text);
    return said;
  };
  EXPECT_EQ(texts(1), texts(1));
  EXPECT_NE(texts(1), texts(2));
}

TEST(RightScene, SharesEachAttributeByACoinOfItsOwn) {
  std::map<std::array<bool, 3>, std::int64_t> patterns;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    const Scene left = make_scene(1, kSize, key(i, 0)), right = make_right_scene(left, 1, kSize, key(i, 1));
    ++patterns[{share(left, right, "c"), share(left, right, "s"), share(left, right, "z")}];
  }
  EXPECT_EQ(patterns.size(), 8U);
  for (const auto& [pattern, count] : patterns) EXPECT_TRUE(test::is_fair(count, 4000, 0.125)) << count;
}

TEST(RightScene, IsNeverTheLeftOneAgain) {
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const Scene left = make_scene(2, kSize, key);
    ASSERT_NE(left.ground.grain_key, make_right_scene(left, 2, kSize, key).ground.grain_key);
  }
}

}  // namespace
}  // namespace pixelbert::scenes
