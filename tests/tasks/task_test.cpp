#include "tasks/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::tasks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

class TaskTest : public testing::Test {
 protected:
  std::string write(const std::string& name, std::int64_t images) {
    std::vector<shards::Record> records;
    for (std::int64_t id = 0; id < images; ++id) records.push_back(test::record_of(id, {8, 8}, 1));
    test::write_shards(folder_.path() / name, records);
    return folder_.path() / name;
  }

  test::TemporaryFolder folder_;
};

TEST(TaskNamed, FindsATaskOrListsThem) {
  EXPECT_EQ(task_named("--task", "nlvr2")->name(), "nlvr2");
  EXPECT_THAT([] { task_named("--task", "vqaa"); },
              ThrowsMessage<UsageError>(HasSubstr("--task must be pretrain, vqa, nlvr2, retrieval, found 'vqaa'")));
  EXPECT_THAT([] { task_named("--task", "pretrain", finetuning_tasks()); },
              ThrowsMessage<UsageError>(HasSubstr("--task must be vqa, nlvr2, retrieval, found 'pretrain'")));
}

TEST(FinetuningNames, AreListedInWords) {
  EXPECT_EQ(finetuning_names(), "vqa, nlvr2 or retrieval");
  EXPECT_EQ(finetuning_names("and"), "vqa, nlvr2 and retrieval");
}

TEST_F(TaskTest, ReadsTheShardsThatWereMadeForIt) {
  const data::DataSets data = data::open_data({write("pairs", 2)});
  PretrainTask().check_data(data);
  RetrievalTask().check_data(data);
  EXPECT_THAT([&] { VqaTask().check_data(data); },
              ThrowsMessage<UsageError>(HasSubstr("holds pairs shards, vqa needs vqa ones: 'pixelbert shard vqa'")));
}

TEST_F(TaskTest, VqaReadsTheOneAnswerVocabulary) {
  const data::DataSets data = data::open_data({write("a", 1), write("b", 1)});
  const auto answers = [&](std::size_t set) { return data[set]->folder() / shards::kAnswersName; };
  VqaTask task;
  EXPECT_THAT([&] { task.read_data(data); }, ThrowsMessage<UsageError>(HasSubstr("one answer a line, found none")));
  write_file(answers(0), "yes\nno\n");
  write_file(answers(1), "yes\nno\n");
  task.read_data(data);
  EXPECT_THAT(task.answers(), ElementsAre("yes", "no"));
  write_file(answers(1), "no\nyes\n");
  EXPECT_THAT([&] { task.read_data(data); }, ThrowsMessage<UsageError>(HasSubstr("has other answers than")));
}

std::vector<std::string> problems_of(const Task& task, const data::StreamConfig& stream = {}) {
  Problems problems;
  task.find_problems(stream, problems);
  return problems.list();
}

TEST(FindProblems, NamesTheOption) {
  PretrainTask pretrain;
  RetrievalTask retrieval;
  EXPECT_THAT(problems_of(pretrain), IsEmpty());
  EXPECT_THAT(problems_of(retrieval), IsEmpty());
  EXPECT_THAT(problems_of(pretrain, {.micro_batch = 1}), ElementsAre(HasSubstr("--data.micro-batch")));
  pretrain.options.mask_probability = 1;
  EXPECT_THAT(problems_of(pretrain), ElementsAre(HasSubstr("--data.mask-probability")));
  pretrain.options = {.objectives = Objectives::Mlm, .mlm_epochs = 2, .first_mask_probability = 0};
  EXPECT_THAT(problems_of(pretrain),
              ElementsAre(HasSubstr("--train.mlm-epochs"), HasSubstr("--data.first-mask-probability")));
  retrieval.options.hard_negatives = 21;
  EXPECT_THAT(problems_of(retrieval), ElementsAre(HasSubstr("--retrieval.hard-negatives 21")));
  retrieval.options = {.negatives = 0, .hard_negatives = 0};
  EXPECT_THAT(problems_of(retrieval),
              ElementsAre(HasSubstr("--retrieval.negatives"), HasSubstr("--retrieval.hard-negatives")));
}

TEST(ReadCheckpoint, OfPretrainingTakesItsObjectives) {
  PretrainTask task;
  checkpoint::Description saved;
  task.read_checkpoint(saved);
  EXPECT_TRUE(task.options.mlm() && task.options.itm());
  saved.config["train.objectives"] = "itm";
  task.read_checkpoint(saved);
  EXPECT_FALSE(task.options.mlm());
  saved.config["train.objectives"] = "mim";
  EXPECT_THAT([&] { task.read_checkpoint(saved); },
              ThrowsMessage<Error>(HasSubstr("'mim', expected one of mlm,itm, mlm")));
}

}  // namespace
}  // namespace pixelbert::tasks
