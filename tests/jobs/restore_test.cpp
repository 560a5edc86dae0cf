#include "jobs/restore.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_store.h"
#include "comm/solo_communicator.h"
#include "core/files.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"
#include "tests/support/temporary_folder.h"
#include "train/replicas.h"

namespace pixelbert::jobs {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr const char* kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n";

model::PixelBertConfig small() {
  return {.backbone = "resnet18", .vocabulary = 6, .hidden = 8, .layers = 1, .heads = 1, .positions = 8};
}

RestoreConfig restoring() {
  RestoreConfig config;
  config.checkpoint = "run";
  config.model = small();
  return config;
}

// A pre-training checkpoint with all weights equal to `value`.
checkpoint::Weights pretrained(double value) {
  const model::PixelBert model(small());
  const auto objective = tasks::PretrainTask().objective(small(), {});
  checkpoint::Weights weights;
  weights.vocabulary = kVocabulary;
  for (const auto& [name, tensor] : train::named_tensors({model.get(), objective.get()})) {
    weights.model[name] = at::full_like(tensor, value);
  }
  return weights;
}

TEST(Restore, PutsTheWeightsIntoAModelInEvaluationMode) {
  comm::SoloCommunicator solo;
  tasks::PretrainTask task;
  const Restored restored = restore(restoring(), pretrained(2), task, at::kCPU, solo);
  EXPECT_FALSE(restored.model->is_training());
  EXPECT_FALSE(restored.objective->is_training());
  for (const auto& [name, tensor] : train::named_tensors({restored.model.get(), restored.objective.get()})) {
    EXPECT_TRUE(tensor.eq(2).all().item<bool>()) << name;
  }
}

TEST(Restore, RetrievalScoresWithTheMatchingHeadOfPreTraining) {
  comm::SoloCommunicator solo;
  tasks::RetrievalTask task;
  const Restored restored = restore(restoring(), pretrained(2), task, at::kCPU, solo);
  for (const auto& item : restored.objective->named_parameters()) {
    EXPECT_TRUE(item.value().eq(2).all().item<bool>()) << item.key();
  }
}

TEST(Restore, RefusesAnotherTask) {
  comm::SoloCommunicator solo;
  tasks::VqaTask task;
  EXPECT_THAT([&] { restore(restoring(), pretrained(2), task, at::kCPU, solo); },
              ThrowsMessage<UsageError>(HasSubstr("run was trained for pretrain, not for vqa: give a checkpoint of "
                                                  "'pixelbert finetune --task vqa'")));
}

TEST(RestoreTokenizer, RefusesAnotherVocabulary) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "vocab.txt";
  checkpoint::Description saved;
  saved.vocabulary = kVocabulary;
  EXPECT_EQ(restore_tokenizer("", saved, "run").vocabulary().size(), 6);
  write_file(path, kVocabulary);
  EXPECT_EQ(restore_tokenizer(path, saved, "run").vocabulary().size(), 6);
  write_file(path, std::string(kVocabulary) + "blue\n");
  EXPECT_THAT(
      [&] { restore_tokenizer(path, saved, "run"); },
      ThrowsMessage<UsageError>(HasSubstr("(7 tokens) is not the vocabulary that run was trained with (6 tokens)")));
}

TEST(ParseWithCheckpoint, MakesTheModelsOptionsTheDefaults) {
  const test::TemporaryFolder folder;
  comm::SoloCommunicator solo;
  checkpoint::Weights weights = pretrained(1);
  weights.config = {{"model.hidden", "8"}, {"train.precision", "bf16"}, {"train.steps", "5"}};
  checkpoint::save_weights(folder.path() / "a", weights);
  RestoreConfig config;
  config::CommandLine line("predict", "");
  line.add(config);
  const config::Arguments arguments = {"--checkpoint", folder.path() / "a"};
  EXPECT_TRUE(parse_with_checkpoint(arguments, line, solo));
  EXPECT_EQ(config.model.hidden, 8);
  EXPECT_EQ(config.compute.precision, model::Precision::Bf16);
}

TEST(ParseWithCheckpoint, NeedsACheckpoint) {
  comm::SoloCommunicator solo;
  config::CommandLine line("predict", "");
  EXPECT_THAT([&] { parse_with_checkpoint({}, line, solo); },
              ThrowsMessage<UsageError>(HasSubstr("--checkpoint is missing")));
}

TEST(ReadWeights, ReturnsNothingForNone) {
  comm::SoloCommunicator solo;
  config::CommandLine line("finetune", "");
  EXPECT_FALSE(read_weights("init", {"--init", "none"}, line, solo));
  EXPECT_FALSE(read_weights("init", {}, line, solo));
}

}  // namespace
}  // namespace pixelbert::jobs
