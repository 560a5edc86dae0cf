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
  // Nobody's raw answer is in the vocabulary, and all agree: nothing is right.
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

TEST(AnswerVocabulary, IsReadFromLinesOrAJsonList) {
  const test::TemporaryFolder folder;
  const auto read = [&](std::string_view content) {
    write_file(folder.path() / "answers", content);
    return AnswerVocabulary::read(folder.path() / "answers").answers();
  };
  EXPECT_THAT(read("yes\nno\n"), ElementsAre("yes", "no"));
  EXPECT_THAT(read("yes\r\nno"), ElementsAre("yes", "no"));
  EXPECT_THAT(read("\nwoods\n"), ElementsAre("", "woods"));
  EXPECT_THAT(read(" [\"\", \"woods\"]\n"), ElementsAre("", "woods"));

  EXPECT_THAT([&] { read(""); }, ThrowsMessage<Error>(HasSubstr("answers: it has no answer")));
  EXPECT_THAT([&] { read("[1]"); }, ThrowsMessage<Error>(HasSubstr("answers: expected a JSON list of answers")));
  EXPECT_THAT([&] { read("a\nb\na\n"); }, ThrowsMessage<Error>(HasSubstr("has 'a' a second time, as entry 3")));
  EXPECT_THAT([&] { read("a \n"); }, ThrowsMessage<Error>(HasSubstr("entry 1 of the answer vocabulary, 'a ', has")));
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
