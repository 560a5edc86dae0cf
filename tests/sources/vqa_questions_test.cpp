#include "sources/vqa_questions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/check.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "sources/vqa_files.h"
#include "tests/sources/annotation_files.h"
#include "tests/support/shared_data.h"

namespace pixelbert::sources {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Counts;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

json question(int id, int image, const std::string& text) {
  return {{"question_id", id}, {"image_id", image}, {"question", text}};
}

json question_file(const std::vector<json>& questions, const std::string& subset = "train2014") {
  return {{"info", {{"version", "2.0"}}}, {"task_type", "Open-Ended"},  {"data_type", "mscoco"},
          {"data_subtype", subset},       {"license", {{"name", "x"}}}, {"questions", questions}};
}

json annotation(int id, const std::string& type, std::vector<std::string> answers) {
  json ten = json::array();
  answers.resize(10, answers.back());
  for (const std::string& answer : answers) ten.push_back({{"answer", answer}, {"answer_id", ten.size() + 1}});
  return {{"question_id", id}, {"answer_type", type}, {"multiple_choice_answer", answers.back()}, {"answers", ten}};
}

class ReadVqa : public test::AnnotationFiles {
 protected:
  ReadVqa() {
    write_image("train2014/COCO_train2014_000000000009.jpg");
    write_image("train2014/COCO_train2014_000000000025.jpg");
    options_.images = images();
    options_.questions = {
        file("questions.json", question_file({question(25000, 25, "Is it a giraffe?"), question(9000, 9, "How many?"),
                                              question(25001, 25, " Why? ")}))};
    options_.annotations = {file("annotations.json", {{"annotations",
                                                       {annotation(25001, "other", {"food", "Eating.", "hungry"}),
                                                        annotation(25000, "yes/no", {"no", "yes"}),
                                                        annotation(9000, "number", {"2", "two"})}}})};
    options_.answers = text_file("answers.txt", "yes\nno\n2\nfood\neating\n");
  }

  VqaOptions options_;
};

TEST_F(ReadVqa, GathersTheQuestionsOfAImageWithScoredAnswers) {
  const Corpus corpus = read_vqa(options_);
  EXPECT_THAT(records(corpus), ElementsAre("25: 25000 Is it a giraffe? [0] 0 1/1 1 0.3/0.3 | "
                                           "25001 Why? [2] 3 0.3/0.3 4 0/0.3",
                                           "9: 9000 How many? [1] 2 0.3/1"));
  EXPECT_EQ(corpus.header.source, "vqa");
  EXPECT_EQ(corpus.header.task, "vqa");
  EXPECT_EQ(corpus.header.options, (std::map<std::string, std::string>{{"annotations", "annotations.json"},
                                                                       {"answer-types", "yes/no,number,other"},
                                                                       {"answers", "answers.txt"},
                                                                       {"questions", "questions.json"},
                                                                       {"questions-without-answer", "0"}}));
  EXPECT_EQ(corpus.files.at("answers.txt"), "yes\nno\n2\nfood\neating\n");
}

TEST_F(ReadVqa, KeepsAQuestionNoneOfWhoseAnswersIsInTheVocabulary) {
  options_.answers = text_file("answers.txt", "yes\n");
  const Corpus corpus = read_vqa(options_);
  EXPECT_THAT(records(corpus),
              ElementsAre("25: 25000 Is it a giraffe? [0] 0 1/1 | 25001 Why? [2]", "9: 9000 How many? [1]"));
  EXPECT_EQ(corpus.header.options.at("questions-without-answer"), "2");
}

TEST_F(ReadVqa, MakesTheVocabularyOverAllFilesInTheirOrder) {
  std::vector<json> train, val, train_answers, val_answers;
  for (int i = 0; i < 9; ++i) {
    train.push_back(question(i, 25, "Train?"));
    train_answers.push_back(annotation(i, "other", {i < 5 ? "A Net" : "once"}));
    val.push_back(question(100 + i, 26, "Val?"));
    val_answers.push_back(annotation(100 + i, "other", {i < 4 ? "net" : "once"}));
  }
  options_.questions = {file("train.json", question_file(train)), file("val.json", question_file(val, "val2014"))};
  options_.annotations = {file("train_a.json", {{"annotations", train_answers}}),
                          file("val_a.json", {{"annotations", val_answers}})};
  options_.answers = "";
  write_image("val2014/COCO_val2014_000000000026.jpg");
  const Corpus corpus = read_vqa(options_);
  EXPECT_EQ(corpus.files.at("answers.txt"), "net\nonce\n");
  EXPECT_EQ(corpus.header.options.at("questions"), "train.json,val.json");
  EXPECT_EQ(corpus.header.options.count("answers"), 0U);
  EXPECT_EQ(records(corpus).size(), 2U);
  EXPECT_EQ(corpus.header.options.at("questions-without-answer"), "5");  // all ten say "A Net", none says "net"

  options_.questions.resize(1), options_.annotations.resize(1);
  EXPECT_THAT([&] { read_vqa(options_); },
              ThrowsMessage<Error>(HasSubstr("no answer is the most common one to 9 questions of ")));
}

TEST_F(ReadVqa, OfATestSetNeedsNoAnnotations) {
  options_.annotations = {};
  EXPECT_THAT(records(read_vqa(options_)), ElementsAre("25: 25000 Is it a giraffe? | 25001 Why?", "9: 9000 How many?"));
  options_.answers = "";
  EXPECT_EQ(read_vqa(options_).files.count("answers.txt"), 0U);
  EXPECT_EQ(read_vqa(options_).header.options.count("questions-without-answer"), 0U);
}

TEST_F(ReadVqa, TakesTestImagesForBothTestSets) {
  options_.annotations = {};
  write_image("test2015/COCO_test2015_000000000001.jpg");
  for (const char* subset : {"test2015", "test-dev2015"}) {
    options_.questions = {file("test.json", question_file({question(1000, 1, "What?")}, subset))};
    EXPECT_THAT(records(read_vqa(options_)), ElementsAre("1: 1000 What?"));
  }
}

TEST_F(ReadVqa, NamesImagesByThePatternGiven) {
  for (const char* name : {"7.png", "train2014-0007.jpg"}) write_image(name);
  const auto read = [&](const std::string& pattern, const json& questions) {
    options_.annotations = {};
    options_.questions = {file("q.json", questions)};
    options_.image_pattern = pattern;
    return records(read_vqa(options_));
  };
  const json bare = {{"questions", {question(70, 7, "What?")}}};
  EXPECT_THAT(read("{image_id}.png", bare), ElementsAre("7: 70 What?"));
  EXPECT_THAT(read("{data_subtype}-{image_id:04d}.jpg", question_file({question(70, 7, "What?")})),
              ElementsAre("7: 70 What?"));
  EXPECT_THAT([&] { read("", bare); }, ThrowsMessage<UsageError>(AllOf(
                                           HasSubstr("q.json does not say which COCO images it is about"),
                                           HasSubstr("give --image-pattern, for example 'COCO_train2014_{image_id"))));
  EXPECT_THAT([&] { read("x.png", bare); }, ThrowsMessage<UsageError>(HasSubstr("it does not contain {image_id}")));
  EXPECT_THAT([&] { read("{id}.png", bare); }, ThrowsMessage<UsageError>(HasSubstr("--image-pattern '{id}.png': ")));
  EXPECT_THAT([&] { read("{image_id.png", bare); }, ThrowsMessage<UsageError>(HasSubstr("--image-pattern")));
  EXPECT_THAT([&] { read("{data_subtype}{image_id}", bare); },
              ThrowsMessage<UsageError>(HasSubstr("q.json has no \"data_subtype\"")));
}

TEST_F(ReadVqa, CountsWhatItLeavesOut) {
  options_.annotations = {};
  options_.questions = {
      file("q.json", question_file({question(1, 25, "One?"), question(1, 25, "One?"), question(2, 25, "  ")}))};
  const Corpus corpus = read_vqa(options_);
  EXPECT_THAT(records(corpus), ElementsAre("25: 1 One?"));
  EXPECT_EQ(corpus.header.skipped, (Counts{{"duplicate-text-id", 1}, {"empty-text", 1}}));
}

TEST_F(ReadVqa, LeavesOutQuestionsWhoseImageIsMissing) {
  fs::remove(images() / "train2014/COCO_train2014_000000000009.jpg");
  ShardOptions output;
  output.out = folder_.path() / "out";
  write_corpus(output, read_vqa(options_));
  const shards::ShardSet set(output.out);
  EXPECT_EQ(set.texts(), 2);
  EXPECT_EQ(set.manifest().skipped, (Counts{{"missing", 1}}));
}

TEST_F(ReadVqa, RefusesAnnotationsOfOtherQuestions) {
  const auto annotated = [&](const std::vector<int>& ids) {
    std::vector<json> list;
    for (const int id : ids) list.push_back(annotation(id, "other", {"x"}));
    options_.annotations = {file("other.json", {{"annotations", list}})};
    read_vqa(options_);
  };
  EXPECT_THAT([&] { annotated({25000, 25001}); },
              ThrowsMessage<Error>(AllOf(HasSubstr("questions.json (3 questions) and "),
                                         HasSubstr("other.json (2 annotations) do not belong together: question 9000 "
                                                   "is not annotated; give --questions and --annotations"))));
  EXPECT_THAT([&] { annotated({25000, 25001, 9000, 77, 66}); },
              ThrowsMessage<Error>(HasSubstr("(5 annotations) do not belong together: question 66 is annotated but")));
}

TEST_F(ReadVqa, RefusesTwoImagesWithOneIdAndTwoQuestionsWithOneId) {
  options_.annotations = {};
  const std::string train = file("train.json", question_file({question(1, 1, "Train?")}, "train2014")),
                    val = file("val.json", question_file({question(2, 1, "Val?")}, "val2014"));
  options_.questions = {train, val};
  EXPECT_THAT([&] { read_vqa(options_); },
              ThrowsMessage<Error>(HasSubstr(fmt::format("image id 1 is COCO_train2014_000000000001.jpg in {} and "
                                                         "COCO_val2014_000000000001.jpg in {}: an id must belong",
                                                         train, val))));
  options_.image_pattern = "{image_id}.jpg";
  EXPECT_THAT([&] { read_vqa(options_); },
              ThrowsMessage<Error>(HasSubstr(
                  fmt::format("image id 1 is of train2014 in {} and of val2014 in {}: an id must", train, val))));
  options_.image_pattern = "";
  options_.questions = {
      file("q.json", question_file({question(1, 25, "One?"), question(3, 25, "Three?"), question(1, 9, "One?")}))};
  EXPECT_THAT([&] { read_vqa(options_); },
              ThrowsMessage<Error>(HasSubstr(
                  "q.json: different texts have the same id: 1 is \"One?\" about COCO_train2014_000000000025.jpg "
                  "and \"One?\" about COCO_train2014_000000000009.jpg; results are matched by id")));
}

TEST_F(ReadVqa, RefusesAnnotationsOfOtherImagesOrTwice) {
  std::vector<json> list = {annotation(25001, "other", {"x"}), annotation(25000, "other", {"x"}),
                            annotation(9000, "other", {"x"})};
  const auto read = [&] {
    options_.annotations = {file("other.json", {{"annotations", list}})};
    return read_vqa(options_).records;
  };
  list[1]["image_id"] = 25.0;
  list[2]["image_id"] = "9";
  EXPECT_EQ(read(), 2);
  list[1]["image_id"] = 77;
  EXPECT_THAT(read, ThrowsMessage<Error>(AllOf(HasSubstr("other.json, annotations[1]: question 25000 is about image 77 "
                                                         "here and about image 25 in "),
                                               HasSubstr("questions.json"))));
  list[1]["image_id"] = 25;
  list.push_back(list[1]);
  EXPECT_EQ(read(), 2);
  list.back()["answers"][0]["answer"] = "2";
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("other.json, annotations[3]: question 25000 is annotated twice")));
}

TEST_F(ReadVqa, WarnsOfAVocabularyThatHasFewAnswers) {
  const auto warning = [&](const std::string& answers) {
    options_.answers = text_file("answers.txt", answers);
    ::testing::internal::CaptureStdout();
    read_vqa(options_);
    return ::testing::internal::GetCapturedStdout();
  };
  EXPECT_THAT(warning("yes\n"), HasSubstr("only 1 of 3 questions (33 %) have an answer in the vocabulary "));
  EXPECT_EQ(warning("yes\nno\n2\nfood\n"), "");
}

TEST_F(ReadVqa, SaysWhatIsWrong) {
  const auto refused = [&](auto alter, const std::string& message) {
    VqaOptions options = options_;
    alter(options);
    EXPECT_THAT([&] { read_vqa(options); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  refused([](auto& options) { options.questions = {}; }, "pixelbert shard vqa needs --questions FILE");
  refused([](auto& options) { options.images = ""; }, "pixelbert shard vqa needs --images DIR");
  refused([](auto& options) { options.questions.push_back("val.json"); },
          "--annotations: expected one for each of the 2 files of --questions, found 1");
  refused([](auto& options) { options.questions = options.annotations; }, "has no list \"questions\"");
  refused([&](auto& options) { options.questions = {file("q.json", question_file({}))}; },
          "q.json: the list \"questions\" is empty");
  refused(
      [&](auto& options) {
        json questions = question_file({question(1, 1, "What?")});
        questions["data_subtype"] = 2014;
        options.questions = {file("q.json", questions)};
      },
      "q.json: \"data_subtype\": expected a string, found 2014");
  refused([&](auto& options) { options.annotations = {file("a.json", {{"annotations", {{{"question_id", 1}}}}})}; },
          "a.json, annotations[0]: expected \"answers\" (a list), found only \"question_id\"");
  refused(
      [&](auto& options) { options.annotations = {file("a.json", {{"annotations", {annotation(1, "why", {"x"})}}})}; },
      "a.json, annotations[0]: question 1 has the answer type \"why\", expected one of yes/no, number, other");
}

TEST(RealVqa, OfCocoBecomesShards) {
  const fs::path data = test::shared_data("vqa-v2-with-images"), answers = test::shared_data("vqa-answer-vocab");
  if (data.empty() || answers.empty()) GTEST_SKIP() << "no real data";
  VqaOptions options;
  options.questions = {data / "v2_OpenEnded_mscoco_train2014_questions.json"};
  options.annotations = {data / "v2_mscoco_train2014_annotations.json"};
  options.answers = answers / "trainval_label2ans.json";
  options.images = data / "images";
  options.image_pattern = "COCO_train2014_{image_id:012}.jpg";
  const test::TemporaryFolder folder;
  ShardOptions output;
  output.out = folder.path() / "out";
  write_corpus(output, read_vqa(options));
  EXPECT_THAT(shards::verify(output.out).problems, IsEmpty());
  const shards::ShardSet set(output.out);
  EXPECT_EQ(set.images(), 61);
  EXPECT_EQ(set.texts(), 96);
  EXPECT_EQ(set.manifest().skipped, Counts{});
  EXPECT_EQ(AnswerVocabulary::read(output.out + "/answers.txt").answers().size(), 3129U);
  ASSERT_EQ(set.text_id(0), 25006);
  EXPECT_EQ(set.text(0), "What is the giraffe standing behind?");
  EXPECT_EQ(set.group(0), 2);
}

void unpack(const fs::path& packed, const fs::path& file) {
  const std::string command = fmt::format("gzip -dc '{}' > '{}'", packed.string(), file.string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

TEST(RealVqa, OfEasyVqaHasImagesAndAnswers) {
  const fs::path data = test::shared_data("easy-vqa");
  if (data.empty()) GTEST_SKIP() << "no real data";
  const test::TemporaryFolder folder;
  const fs::path questions = folder.path() / "questions.json", annotations = folder.path() / "annotations.json";
  unpack(data / "OpenEnded_easyvqa_train_questions.json.gz", questions);
  unpack(data / "easyvqa_train_annotations.json.gz", annotations);
  VqaOptions options{{questions}, {annotations}, "", data / "images", ""};
  EXPECT_THAT([&] { read_vqa(options); }, ThrowsMessage<UsageError>(HasSubstr("give --image-pattern")));

  options.image_pattern = "{image_id}.png";
  options.answers = data / "answers.txt";
  const Corpus corpus = read_vqa(options);
  EXPECT_EQ(corpus.records, 4000);
  EXPECT_EQ(corpus.header.options.at("questions-without-answer"), "0");
  for (std::int64_t i = 0; i < corpus.records; i += 200) {
    for (const shards::Text& text : corpus.record(i).texts) {
      ASSERT_EQ(text.answers.size(), 1U) << text.text;
      EXPECT_EQ(text.answers[0].score, 1);
      EXPECT_EQ(text.answers[0].accuracy, 1);
    }
  }
  std::vector<std::string> made = frequent_answers({annotations}),
                           published = AnswerVocabulary::read(options.answers).answers();
  std::ranges::sort(made), std::ranges::sort(published);
  EXPECT_EQ(made, published);
}

}  // namespace
}  // namespace pixelbert::sources
