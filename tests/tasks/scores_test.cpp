// Official scores, as functions of what a model chose.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tasks/nlvr2.h"
#include "tasks/vqa.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::tasks {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::ThrowsMessage;
using testing::UnorderedElementsAre;

data::DataSets write(const std::filesystem::path& folder, std::vector<std::vector<shards::Text>> texts) {
  shards::Manifest header;
  header.source = "test";
  header.options["answer-types"] = "yes/no,number,other";
  shards::ShardFolderWriter writer({.folder = folder, .shard_mib = 256, .part = {}}, header);
  std::int64_t id = 0;
  for (std::vector<shards::Text>& of_image : texts) {
    shards::Record record = test::record_of(id++, {8, 8}, 0);
    record.texts = std::move(of_image);
    writer.append(std::move(record));
  }
  writer.finish();
  return {std::make_shared<const shards::ShardSet>(folder)};
}

TEST(VqaScores, AreMeansOfTheOfficialAccuracyOverAllAndByAnswerType) {
  const test::TemporaryFolder folder;
  // The soft score (trained on) is not the accuracy (reported).
  const data::DataSets data =
      write(folder.path() / "s", {{{1, "a", {{0, 1, 0.9f}, {1, 0.3f, 0.3f}}, 0}, {2, "b", {{2, 1, 1}}, 2}},
                                  {{3, "c", {{3, 0.6f, 0.6f}}, 2}, {4, "d", {}, 1}}});
  const evaluation::Metrics metrics = vqa_scores(data, {at::tensor({0, 2, 1, 0}, at::kLong)});
  EXPECT_NEAR(metrics.at("vqa_score"), (0.9 + 1 + 0 + 0) / 4, 1e-7);
  EXPECT_NEAR(metrics.at("vqa_score_yes_no"), 0.9, 1e-7);
  EXPECT_EQ(metrics.at("vqa_score_other"), 0.5);
  EXPECT_EQ(metrics.at("vqa_score_number"), 0);
}

TEST(VqaScores, OfATestSetThereAreNone) {
  const test::TemporaryFolder folder;
  EXPECT_THAT(vqa_scores(write(folder.path() / "s", {{{1, "a", {}, -1}}}), {at::tensor({0}, at::kLong)}), IsEmpty());
}

TEST(Nlvr2Scores, ConsistencyAsksForAllStatementsOfASentence) {
  const test::TemporaryFolder folder;
  // Sentence 10 is in three records, each of two images, sentence 11 in one.
  const data::DataSets data = write(folder.path() / "s", {{{1, "a", {{1, 1, 1}}, 10}, {2, "b", {{0, 1, 1}}, 11}},
                                                          {{3, "a", {{0, 1, 1}}, 10}},
                                                          {{4, "a", {{1, 1, 1}}, 10}}});
  EXPECT_THAT(nlvr2_scores(data, {at::tensor({1, 0, 0, 1}, at::kLong)}),
              UnorderedElementsAre(Pair("accuracy", 1), Pair("consistency", 1)));
  EXPECT_THAT(nlvr2_scores(data, {at::tensor({1, 0, 1, 1}, at::kLong)}),
              UnorderedElementsAre(Pair("accuracy", 0.75), Pair("consistency", 0.5)));
}

TEST(VqaScores, NameAQuestionOfATypeThatTheManifestDoesNotName) {
  const test::TemporaryFolder folder;
  const data::DataSets data = write(folder.path() / "s", {{{77, "a", {{0, 1, 1}}, 3}}});
  EXPECT_THAT([&] { vqa_scores(data, {at::tensor({0}, at::kLong)}); },
              ThrowsMessage<Error>(AllOf(HasSubstr("question 77 of " + (folder.path() / "s").string()),
                                         HasSubstr("has type 3"), HasSubstr("names 3"))));
}

TEST(Nlvr2Scores, NameAStatementOfNoSentence) {
  const test::TemporaryFolder folder;
  const data::DataSets data = write(folder.path() / "s", {{{1, "a", {{1, 1, 1}}, 10}, {2, "b", {{0, 1, 1}}, -1}}});
  EXPECT_THAT([&] { nlvr2_scores(data, {at::tensor({1, 1}, at::kLong)}); },
              ThrowsMessage<Error>(HasSubstr("statement 2 of")));
}

TEST(Nlvr2Scores, WithoutLabelsThereAreNone) {
  const test::TemporaryFolder folder;
  EXPECT_THAT(nlvr2_scores(write(folder.path() / "s", {{{1, "a", {}, 3}}}), {at::tensor({0}, at::kLong)}), IsEmpty());
}

}  // namespace
}  // namespace pixelbert::tasks
