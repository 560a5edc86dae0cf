#include "jobs/training_job.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_store.h"
#include "comm/solo_communicator.h"
#include "core/files.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tests/support/save.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::jobs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

class TrainingJobTest : public testing::Test {
 protected:
  // Returns the job of a command line; its problems go to `problems_`.
  TrainingJob read(ReadOptions& read, config::Arguments arguments) {
    TrainingJob job;
    problems_ = Problems();
    config::CommandLine line("train", "");
    arguments.insert(arguments.end(), {"--run.dir", run_.string(), "--data.shards", "shards"});
    read_start(arguments, line, job, solo_);
    EXPECT_TRUE(read(arguments, line, job, problems_));
    return job;
  }

  static checkpoint::Checkpoint saved() {
    checkpoint::Checkpoint saved;
    saved.step = 2;
    saved.config = {{"model.layers", "3"}, {"image.long-side", "500"}, {"train.seed", "7"}, {"text.max-tokens", "20"}};
    saved.world_sizes = {{2, 1}};
    saved.model = {{"itm.bias", at::zeros({1})}};
    return saved;
  }

  test::TemporaryFolder folder_;
  std::filesystem::path run_ = folder_.path() / "run";
  comm::SoloCommunicator solo_;
  Problems problems_;
};

TEST_F(TrainingJobTest, OfPretrainingSamplesPixelsAndHasItsOptions) {
  const TrainingJob job =
      read(read_pretraining, {"--train.objectives", "mlm", "--data.mask-probability", "0.2", "--train.seed", "9"});
  EXPECT_THAT(problems_.list(), IsEmpty());
  const auto& task = dynamic_cast<const tasks::PretrainTask&>(*job.task);
  EXPECT_FALSE(task.options.itm());
  EXPECT_EQ(job.config.loop.seed, 9u);
  EXPECT_EQ(task.options.mask_probability, 0.2);
  EXPECT_TRUE(job.batch().sample_pixels);
  EXPECT_FALSE(read(read_pretraining, {"--model.sampled-pixels", "0"}).batch().sample_pixels);
  EXPECT_EQ(job.options.at("train.objectives"), "mlm");
  EXPECT_THAT(job.ini, HasSubstr("objectives = mlm"));
  EXPECT_TRUE(job.free_on_resume.contains("train.steps"));
  EXPECT_FALSE(job.free_on_resume.contains("train.seed"));
}

TEST_F(TrainingJobTest, OfFineTuningHasTheOptionsOfItsTask) {
  const TrainingJob job = read(read_finetuning, {"--task", "retrieval", "--init", "none", "--retrieval.negatives", "8",
                                                 "--finetune.head-dropout", "0.25"});
  EXPECT_THAT(problems_.list(), IsEmpty());
  EXPECT_EQ(dynamic_cast<const tasks::RetrievalTask&>(*job.task).options.negatives, 8);
  EXPECT_EQ(job.head.dropout, 0.25);
}

TEST_F(TrainingJobTest, RefusesTheOptionsOfAnotherTask) {
  const std::filesystem::path file = folder_.path() / "config.ini";
  write_file(file, read(read_finetuning, {"--task", "retrieval", "--init", "none"}).ini);
  read(read_finetuning, {"--config", file, "--task", "vqa"});
  EXPECT_THAT(problems_.list(), IsEmpty());  // with its default
  read(read_finetuning, {"--config", file, "--task", "vqa", "--retrieval.negatives", "8"});
  EXPECT_THAT(problems_.list(),
              ElementsAre("--retrieval.negatives is an option of --task retrieval, found with --task vqa"));
}

TEST_F(TrainingJobTest, ReadsNamesOfEarlierVersions) {
  const std::filesystem::path file = folder_.path() / "old.ini";
  write_file(file, "task = retrieval\ninit = none\n[retrieval]\nforeign-texts = 9\nhard-texts = 3\n");
  const auto negatives = [&](const config::Arguments& more) {
    config::Arguments arguments = {"--config", file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const TrainingJob job = read(read_finetuning, arguments);
    EXPECT_THAT(problems_.list(), IsEmpty());
    const auto& options = dynamic_cast<const tasks::RetrievalTask&>(*job.task).options;
    return std::vector{options.negatives, options.hard_negatives};
  };
  EXPECT_THAT(negatives({}), ElementsAre(9, 3));
  EXPECT_THAT(negatives({"--retrieval.foreign-texts", "8", "--retrieval.hard-texts=2"}), ElementsAre(8, 2));
  EXPECT_THAT(negatives({"--retrieval.negatives", "7"}), ElementsAre(7, 3));
}

TEST_F(TrainingJobTest, LeavesAnEpochForImageTextMatching) {
  read(read_pretraining, {"--train.mlm-epochs", "2", "--train.epochs", "3"});
  EXPECT_THAT(problems_.list(), IsEmpty());
  read(read_pretraining, {"--train.mlm-epochs", "2", "--train.epochs", "2"});
  EXPECT_THAT(problems_.list(),
              ElementsAre(HasSubstr("--train.mlm-epochs 2 leaves no epoch of --train.epochs 2 for ITM")));
}

TEST_F(TrainingJobTest, HasAllProblemsAtOnce) {
  read(read_finetuning, {"--task", "vqaa", "--train.precision", "fp16", "--train.epochs", "0"});
  EXPECT_THAT(problems_.list(),
              testing::UnorderedElementsAre(HasSubstr("--task must be vqa, nlvr2, retrieval, found 'vqaa'"),
                                            HasSubstr("--train.precision must be one of float32, bf16, found 'fp16'"),
                                            HasSubstr("--train.epochs"), HasSubstr("--init is missing")));
  read(read_pretraining, {"--data.micro-batch", "1"});
  EXPECT_THAT(problems_.list(), ElementsAre(HasSubstr("--data.micro-batch must be at least 2 with ITM")));
}

TEST_F(TrainingJobTest, TakesTheModelOfTheCheckpointThatItStartsFrom) {
  const std::filesystem::path initial = folder_.path() / "initial";
  checkpoint::save_weights(initial, saved());
  const TrainingJob job = read(read_pretraining, {"--init", initial});
  EXPECT_EQ(job.config.model.layers, 3);
  EXPECT_EQ(job.config.text.max_tokens, 20);
  EXPECT_EQ(job.config.loop.seed, 0u);  // not an option of the model
  EXPECT_EQ(job.initial->model.size(), 1u);
  EXPECT_FALSE(job.resumed);
  EXPECT_EQ(read(read_pretraining, {"--init", initial, "--model.layers", "4"}).config.model.layers, 4);
}

TEST_F(TrainingJobTest, ResumesWithoutItsInitialCheckpoint) {
  test::save(run_ / "checkpoints", saved(), 1);
  const TrainingJob job = read(read_pretraining, {"--init", folder_.path() / "gone"});
  EXPECT_EQ(job.resumed->step, 2);
  EXPECT_EQ(job.config.model.layers, 3);
  EXPECT_FALSE(job.initial);
}

TEST_F(TrainingJobTest, DoesNotStartAgainWhereCheckpointsAreLost) {
  std::filesystem::create_directories(run_);
  write_file(run_ / "metrics.jsonl", R"({"step":1,"phase_seconds":{"checkpoint":0}})"
                                     "\n");
  read(read_pretraining, {});
  write_file(run_ / "metrics.jsonl", R"({"step":1,"phase_seconds":{"checkpoint":0.5}})"
                                     "\n");
  EXPECT_THAT([&] { read(read_pretraining, {}); }, ThrowsMessage<Error>(HasSubstr("a step that was saved")));
}

}  // namespace
}  // namespace pixelbert::jobs
