#include "sources/vqa_answers.h"

#include <gtest/gtest.h>

namespace pixelbert::sources {
namespace {

TEST(VqaAnswers, AreNormalisedAsTheOfficialEvaluationDoes) {
  for (const auto& [answer, expected] : std::vector<std::pair<std::string, std::string>>{
           {"", ""},
           {"  A Dog  and THE cat ", "dog and cat"},
           {"None", "0"},
           {"ten one eleven", "10 1 eleven"},
           {"dont", "don't"},
           {"Im", "im"},  // the table says "Im", but words are in lower case
           {"somebody'd", "somebodyd"},
           {"y'alld've", "y'all'd've"},
           {"ow's'at", "'ow's'at"},
           {"t-shirt", "t shirt"},
           {"t- shirt", "t shirt"},
           {"a/b", "b"},                          // "a b", then the article is removed
           {"red,white", "red white"},            // a mark becomes a space
           {"red, white", "red white"},           // beside a space it is removed
           {"red, white,blue", "red whiteblue"},  // and so are all like it
           {"1,000-2,000", "10002000"},           // a comma between digits: all marks are removed
           {"what?!", "what"},
           {"mr.", "mr"},
           {"1.5", "1.5"},
           {".5", ".5"},
           {"5.", "5"},
           {"st.patrick", "stpatrick"},
           {std::string(40, '.'), std::string(8, '.')},  // 32 at most
           {"50%", "50%"},
           {"it's", "it's"},
           {"ÉTÉ Ä", "été ä"},
           {"İ", "i̇"},
           {"no\u00A0one", "no 1"},
           {"\u0663,\u0664-a", "\u0663\u0664a"},  // Arabic digits are digits
       }) {
    EXPECT_EQ(normalised(answer), expected) << answer;
  }
}

TEST(VqaAnswers, OfTheVocabularyHaveNoCommas) {
  EXPECT_EQ(normalised("a ,,b ,"), "b");
  EXPECT_EQ(normalised_for_vocabulary("1,000"), "1000");
}

// Time that grows with the square of the length would not end.
TEST(VqaAnswers, AreNormalisedInOnePass) {
  const std::string marks(2'000'000, '[');
  EXPECT_EQ(normalised(marks), "");
  EXPECT_EQ(normalised("x" + marks + "y"), "x y");
}

TEST(VqaAnswers, AreReadWithoutBlanksAtTheirEnds) {
  EXPECT_EQ(stripped("\t a\tdog\nruns \u3000\n"), "a dog runs");
  EXPECT_EQ(stripped(" \t"), "");
}

std::vector<std::string> given(std::size_t yes, const std::string& other = "no") {
  std::vector<std::string> answers(yes, "yes");
  answers.resize(10, other);
  return answers;
}

TEST(OfficialAccuracy, IsTheMeanOverTheNineOthersOfEachPerson) {
  constexpr double kExpected[] = {0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
  for (std::size_t people = 0; people <= 10; ++people) {
    EXPECT_NEAR(official_accuracy("yes", given(people)), kExpected[people], 1e-12) << people;
  }
}

TEST(OfficialAccuracy, NormalisesOnlyWherePeopleDisagree) {
  EXPECT_EQ(official_accuracy("2", given(0, "two")), 0);
  EXPECT_EQ(official_accuracy("two", given(0, "two")), 1);
  EXPECT_EQ(official_accuracy(" two\n", given(0, "two")), 1);
  EXPECT_EQ(official_accuracy("The two.", given(1, "two")), 1);
  EXPECT_EQ(official_accuracy("2", given(1, "two")), 1);
  EXPECT_EQ(official_accuracy("yes", {}), 0);
}

}  // namespace
}  // namespace pixelbert::sources
