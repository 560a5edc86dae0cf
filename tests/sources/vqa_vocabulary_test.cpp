#include "sources/vqa_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/shared_data.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::sources {
namespace {

using shards::Answer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

// 10 answers, the last one repeated.
std::vector<std::string> ten(std::vector<std::string> answers) {
  answers.resize(10, answers.back());
  return answers;
}

TEST(AnswerCounts, KeepWhatComesNineTimesInOrderOfFirstAppearance) {
  AnswerCounts counts;
  counts.add("late but often");
  for (int i = 0; i < 9; ++i) counts.add(i % 2 == 0 ? "The Net." : "net");
  for (int i = 0; i < 8; ++i) counts.add("eight");
  for (int i = 0; i < 20; ++i) counts.add("late but often");
  EXPECT_THAT(counts.frequent(), ElementsAre("late but often", "net"));
}

TEST(AnswerVocabulary, ScoresByWhatPeopleWroteAndIsAccurateAsTheEvaluation) {
  const AnswerVocabulary vocabulary({"yes", "2", "dog", "two dogs"});
  EXPECT_THAT(vocabulary.targets(ten({"yes", "dog", "dog", "no"})),
              ElementsAre(Answer{0, 0.3F, 0.3F}, Answer{2, 0.6F, 0.6F}));
  // "Yes." and "two" are no votes for "yes" and "2" in training; the evaluation normalises them.
  EXPECT_THAT(vocabulary.targets(ten({"Yes.", "yes", "two", "two", "two", "two"})),
              ElementsAre(Answer{0, 0.3F, 0.6F}, Answer{1, 0, 1}));
  // No raw answer is in the vocabulary, and all agree: no answer is right.
  EXPECT_THAT(vocabulary.targets(ten({"two"})), IsEmpty());
  // "2 dogs" and "two dogs" are the same to the evaluation, also as an entry.
  EXPECT_THAT(vocabulary.targets(ten({"2 dogs", "2 dogs", "2 dogs", "cat"})), ElementsAre(Answer{3, 0, 0.9F}));
  EXPECT_THAT(vocabulary.targets(ten({"dog"})), ElementsAre(Answer{2, 1, 1}));
  EXPECT_THAT(vocabulary.targets({}), IsEmpty());
}

TEST(AnswerVocabulary, HasARightEntryTwiceWhereTheEvaluationSeesOne) {
  const AnswerVocabulary vocabulary({"two", "2"});
  EXPECT_THAT(vocabulary.targets(ten({"two", "none"})), ElementsAre(Answer{0, 0.3F, 0.3F}, Answer{1, 0, 0.3F}));
}

class ReadAnswers : public ::testing::Test {
 protected:
  std::vector<std::string> read(std::string_view content) {
    write_file(folder_.path() / "answers", content);
    return AnswerVocabulary::read(folder_.path() / "answers").answers();
  }

  void refused(std::string_view content, const std::string& message) {
    EXPECT_THAT([&] { read(content); }, ThrowsMessage<Error>(HasSubstr("answers: " + message))) << content;
  }

  test::TemporaryFolder folder_;
};

TEST_F(ReadAnswers, FromLinesOrAJsonList) {
  EXPECT_THAT(read("yes\nno\n"), ElementsAre("yes", "no"));
  EXPECT_THAT(read("yes\r\nno"), ElementsAre("yes", "no"));
  EXPECT_THAT(read("\nwoods\n"), ElementsAre("", "woods"));
  EXPECT_THAT(read(" [\"\", \"woods\"]\n"), ElementsAre("", "woods"));

  EXPECT_THAT(read("[\"y\\u00e9s\"]"), ElementsAre("yés"));
}

TEST_F(ReadAnswers, BehindAByteOrderMark) {
  const std::string mark = "\xEF\xBB\xBF";
  EXPECT_THAT(read(mark + "yes\r\nno\r\n"), ElementsAre("yes", "no"));
  EXPECT_THAT(read(mark + "[\"yes\", \"no\"]"), ElementsAre("yes", "no"));
  EXPECT_THAT(read(mark + "{\"yes\": 0}"), ElementsAre("yes"));
}

TEST_F(ReadAnswers, FromAJsonObjectByTheirNumbers) {
  EXPECT_THAT(read(R"({"yes": 1, "no": 0, "2": 2})"), ElementsAre("no", "yes", "2"));
  EXPECT_THAT(read(R"({"yes": 1.0, "no": "0", "maybe": 2})"), ElementsAre("no", "yes", "maybe"));
  EXPECT_THAT(read(R"({"1": "yes", "0": "no", "10": "x", "2": "a", "3": "b", "4": "c", "5": "d", "6": "e", "7": "f",
                       "8": "g", "9": "h"})"),
              ElementsAre("no", "yes", "a", "b", "c", "d", "e", "f", "g", "h", "x"));
  const std::string expected = "expected the 2 answers to have the numbers 0 to 1, each once, found ";
  refused(R"({"yes": 1, "no": 2})", expected + "2 for \"no\"");
  refused(R"({"yes": 1, "no": 1})", expected + "1 for \"yes\"");
  refused(R"({"yes": -1, "no": 0})", expected + "-1 for \"yes\"");
  refused(R"({"yes": 0, "no": 1e18})", "\"no\": expected an id");
  refused(R"({"yes": 0, "no": 0.5})", "\"no\": expected an id");
  refused(R"({"0": "yes", "2": "no"})", expected + "2 for \"no\"");
  refused(R"({"0": "yes", "01": "no", "1": "x"})", "expected the 3 answers to have the numbers 0 to 2, each once");
  refused(R"({"0": "yes", "1": null})", "\"1\": expected a string, found null");
  refused(R"({"answers": ["yes"]})", "\"answers\": expected an id");
}

TEST_F(ReadAnswers, AndRefusesAnythingElse) {
  refused("", "it has no answers");
  refused("[]", "it has no answers");
  refused("{}", "it has no answers");
  refused("[1]", "\"[0]\": expected a string, found 1");
  refused("[\"a\", [\"b\"]]", "\"[1]\": expected a string, found a list");
  refused("[\"a\", ", "expected answers as JSON, or one per line: ");
  refused("{\"a\"", "expected answers as JSON, or one per line: ");
  refused("a\nb\na\n", "the answer vocabulary has 'a' twice, the second time as entry 3");
  refused("a \n", "entry 1 of the answer vocabulary, \"a \", has a blank at an end");
  refused("a\rb\r", "entry 1 of the answer vocabulary, \"a\\rb\", has ");
  refused("[\"a\\nb\"]", "entry 1 of the answer vocabulary, \"a\\nb\", has ");
  refused("[\"a\\u0085\"]", "entry 1 of the answer vocabulary, ");
  refused("caf\xE9\n", "entry 1 of the answer vocabulary, \"caf\xEF\xBF\xBD\", has ");
  refused(std::string_view("\xFF\xFEy\0e\0s\0", 8), "entry 1 of the answer vocabulary, ");  // UTF-16
  refused(std::string_view("\x80\x04\x95\0\0", 5), "entry 1 of the answer vocabulary, ");   // a pickle
  refused(std::string(100'000, '['), "expected answers as JSON");
  EXPECT_THAT([&] { AnswerVocabulary::read(folder_.path()); }, ThrowsMessage<Error>(HasSubstr("Is a directory")));
}

TEST(RealAnswerVocabulary, IsRead) {
  const auto data = test::shared_data("vqa-answer-vocab");
  if (data.empty()) GTEST_SKIP() << "no real data";
  const AnswerVocabulary vocabulary = AnswerVocabulary::read(data / "trainval_label2ans.json");
  ASSERT_EQ(vocabulary.answers().size(), 3129U);
  EXPECT_EQ(vocabulary.answers()[0], "");
  EXPECT_THAT(vocabulary.targets(ten({"woods"})), ElementsAre(Answer{1, 1, 1}));
}

}  // namespace
}  // namespace pixelbert::sources
