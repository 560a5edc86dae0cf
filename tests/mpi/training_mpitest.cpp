// A whole training in one process per rank: opened, built, run, resumed.
#include "jobs/training.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "comm/texts.h"
#include "core/files.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/mpi_test.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::jobs {
namespace {

using test::session;
using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class Training : public testing::Test {
 protected:
  Training() {
    const auto control = comm::make_control_communicator(session());
    folder_ = comm::broadcast_text(own_.path().string(), *control);  // rank 0's, for all
    if (session().rank() == 0) {
      std::vector<shards::Record> records;
      for (std::int64_t id = 0; id < 12; ++id) records.push_back(test::record_of(id, {40, 40}, 2));
      test::write_shards(folder_ / "shards", records);
      write_file(folder_ / "vocab.txt", test::vocabulary().text());
    }
    control->barrier();
  }

  ~Training() override { comm::make_control_communicator(session())->barrier(); }  // all ranks use the folder

  int train(std::int64_t steps, const config::Arguments& more = {}) {
    config::Arguments arguments = {"--run.dir",
                                   folder_ / "run",
                                   "--data.shards",
                                   folder_ / "shards",
                                   "--text.vocab",
                                   folder_ / "vocab.txt",
                                   "--model.backbone",
                                   "resnet18",
                                   "--model.layers",
                                   "1",
                                   "--model.hidden",
                                   "16",
                                   "--model.heads",
                                   "1",
                                   "--model.visual-order",
                                   "conv",
                                   "--image.short-side",
                                   "40",
                                   "--image.long-side",
                                   "40",
                                   "--data.global-batch",
                                   "8",
                                   "--data.micro-batch",
                                   "2",
                                   "--train.device",
                                   "cpu",
                                   "--train.threads",
                                   "1",
                                   "--train.steps",
                                   fmt::to_string(steps)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    config::CommandLine line("pretrain", "");
    return run_training(arguments, line, read_pretraining, session());
  }

  checkpoint::Checkpoint saved() const { return checkpoint::load(folder_ / "run" / "checkpoints").value(); }

  test::TemporaryFolder own_;
  std::filesystem::path folder_;
};

TEST_F(Training, GoesOnWhereItStands) {
  EXPECT_EQ(train(2), 0);
  EXPECT_EQ(train(3), 0);
  const checkpoint::Checkpoint run = saved();
  EXPECT_EQ(run.step, 3);
  EXPECT_EQ(run.samples, 24);
  EXPECT_EQ(run.epoch, 1);  // 24 pairs in steps of 8
  EXPECT_EQ(run.world_sizes, (std::vector<checkpoint::WorldSize>{{3, session().world_size()}}));
  EXPECT_EQ(run.vocabulary, test::vocabulary().text());
  EXPECT_TRUE(run.initial.is_null());
  EXPECT_EQ(train(3), 0);  // nothing to do
}

TEST_F(Training, StartsFromTheWeightsOfAnother) {
  EXPECT_EQ(train(1), 0);
  const std::filesystem::path first = folder_ / "run" / "checkpoints";
  const std::filesystem::path second = folder_ / "second";
  EXPECT_EQ(train(1, {"--init", first, "--run.dir", second}), 0);
  const checkpoint::Checkpoint run = checkpoint::load(second / "checkpoints").value();
  EXPECT_EQ(run.initial["checkpoint"], first.string());
  EXPECT_EQ(run.initial["step"], 1);
  EXPECT_EQ(run.step, 1);
}

TEST_F(Training, DropsItsRatesAfterAnEpoch) {
  EXPECT_EQ(train(4, {"--optim.warmup-steps", "0", "--optim.drop-epochs", "1"}), 0);  // an epoch has 3 steps
  const checkpoint::Checkpoint run = saved();
  const std::string convolution = "backbone.layer4.1.conv2.weight";
  EXPECT_TRUE(run.optimizer.contains(convolution + ".momentum"));
  EXPECT_FALSE(run.optimizer.contains(convolution + ".exp_avg"));
  EXPECT_TRUE(run.optimizer.contains("bert.encoder.layer.0.attention.self.query.weight.exp_avg"));
  if (session().rank() != 0) return;
  std::vector<double> backbone, transformer;
  std::ifstream lines(folder_ / "run" / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json step = nlohmann::json::parse(line);
    backbone.push_back(step.at("learning_rate").at("backbone").get<double>());
    transformer.push_back(step.at("learning_rate").at("transformer").get<double>());
  }
  EXPECT_THAT(backbone, ElementsAre(DoubleEq(1e-2), DoubleEq(1e-2), DoubleEq(1e-2), DoubleEq(1e-3)));
  EXPECT_THAT(transformer, ElementsAre(DoubleEq(1e-4), DoubleEq(1e-4), DoubleEq(1e-4), DoubleEq(1e-5)));
}

TEST_F(Training, IsRefusedOnAllRanksAlike) {
  EXPECT_EQ(train(1), 0);
  EXPECT_THAT([&] { train(2, {"--train.seed", "4"}); },
              ThrowsMessage<UsageError>(HasSubstr("it was trained with --train.seed '0', now it is '4'")));
}

}  // namespace
}  // namespace pixelbert::jobs
