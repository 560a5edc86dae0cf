#include "jobs/training_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "core/check.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"

namespace pixelbert::jobs {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TrainingConfig sound() {
  TrainingConfig config;
  config.run_dir = "run";
  return config;
}

TEST(Validate, AcceptsTheDefaults) {
  EXPECT_NO_THROW(validate(sound()));
}

TEST(Validate, NamesTheOptionOfEachValueThatCannotWork) {
  const std::vector<std::pair<const char*, void (*)(TrainingConfig&)>> wrong = {
      {"--run.dir", [](TrainingConfig& c) { c.run_dir = ""; }},
      {"--data.global-batch", [](TrainingConfig& c) { c.stream.global_batch = 0; }},
      {"--data.micro-batch", [](TrainingConfig& c) { c.stream.micro_batch = 5000; }},
      {"--data.texts-per-image", [](TrainingConfig& c) { c.stream.texts_per_image = 0; }},
      {"--image.long-side", [](TrainingConfig& c) { c.image.long_side = 100; }},
      {"--text.max-tokens", [](TrainingConfig& c) { c.text.max_tokens = 513; }},
      {"--model.backbone", [](TrainingConfig& c) { c.model.backbone = "vgg16"; }},
      {"--model.visual-kernel", [](TrainingConfig& c) { c.model.visual_kernel = 2; }},
      {"--model.frozen-stages", [](TrainingConfig& c) { c.model.frozen_stages = 6; }},
      {"--model.heads", [](TrainingConfig& c) { c.model.heads = 7; }},
      {"--model.intermediate", [](TrainingConfig& c) { c.model.intermediate = -1; }},
      {"--model.dropout", [](TrainingConfig& c) { c.model.dropout = 1; }},
      {"--model.dropout", [](TrainingConfig& c) { c.model.dropout = 1 - 0x1p-53; }},  // 1 in float32
      {"--train.max-skipped-steps", [](TrainingConfig& c) { c.loop.max_skipped_steps = 0; }},
      {"--optim.clip-norm", [](TrainingConfig& c) { c.optim.clip_norm = -1; }},
      {"--checkpoint.every-minutes", [](TrainingConfig& c) { c.checkpoint.every_minutes = -5; }},
      {"--metrics.port", [](TrainingConfig& c) { c.metrics.port = 70000; }},
      {"--metrics.port", [](TrainingConfig& c) { c.metrics.port = -5; }},
      {"--checkpoint.keep", [](TrainingConfig& c) { c.checkpoint.keep = 0; }},
      {"--comm.bucket-mib", [](TrainingConfig& c) { c.reducer.bucket_mib = 0; }},
      {"--comm.bucket-mib", [](TrainingConfig& c) { c.reducer.bucket_mib = std::int64_t{1} << 62; }},
      {"--train.threads", [](TrainingConfig& c) { c.compute.threads = (std::int64_t{1} << 32) + 1; }},
      {"--train.epochs", [](TrainingConfig& c) { c.loop.epochs = std::int64_t{1} << 62; }},
      {"--data.blocks-in-window", [](TrainingConfig& c) { c.stream.blocks_in_window = std::int64_t{1} << 62; }},
      {"--model.positions", [](TrainingConfig& c) { c.model.positions = std::int64_t{1} << 40; }},
      {"--metrics.address", [](TrainingConfig& c) { c.metrics.address = ""; }},
      {"--metrics.address", [](TrainingConfig& c) { c.metrics.address = "127.0.0.1,0.0.0.0"; }},
      {"--metrics.progress-every-seconds", [](TrainingConfig& c) { c.metrics.progress_every_seconds = -1; }},
  };
  for (const auto& [option, spoil] : wrong) {
    TrainingConfig config = sound();
    spoil(config);
    EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr(option)));
  }
}

TEST(Validate, NamesAllOfThemAtOnce) {
  TrainingConfig config = sound();
  config.stream.global_batch = 0;  // the micro-batch is not at fault then
  config.model.heads = 0;
  config.optim.clip_norm = -1;
  Problems problems;
  find_problems(config, problems);
  EXPECT_THAT(problems.list(),
              testing::UnorderedElementsAre(HasSubstr("--data.global-batch"), HasSubstr("--model.heads"),
                                            HasSubstr("--optim.clip-norm")));
}

TEST(FindStatisticsProblems, RefusesBatchNormThatNeverHasTwoValues) {
  const auto problems_of = [](std::int64_t images, void (*change)(TrainingConfig&)) {
    TrainingConfig config = sound();
    config.image.short_side = config.image.long_side = 32;
    config.stream.micro_batch = 1;
    change(config);
    Problems problems;
    find_statistics_problems(config, images, problems);
    return problems.list();
  };
  EXPECT_THAT(problems_of(1, [](TrainingConfig&) {}),
              testing::ElementsAre(testing::AllOf(HasSubstr("--data.micro-batch 1"), HasSubstr("--image.long-side 32"),
                                                  HasSubstr("--model.batch-norm frozen"))));
  EXPECT_THAT(problems_of(2, [](TrainingConfig&) {}), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](TrainingConfig& c) { c.stream.micro_batch = 2; }), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](TrainingConfig& c) { c.image.long_side = 33; }), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](TrainingConfig& c) { c.model.batch_norm = model::NormMode::Frozen; }),
              testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](TrainingConfig& c) { c.model.frozen_stages = 5; }), testing::IsEmpty());
}

TEST(ValidateFinetune, NamesTheOption) {
  FinetuneOptions sound;
  sound.init = "run";
  EXPECT_NO_THROW(validate(sound));
  const std::vector<std::pair<const char*, void (*)(FinetuneOptions&)>> wrong = {
      {"--init is missing", [](FinetuneOptions& o) { o.init = ""; }},
      {"--finetune.head-dropout", [](FinetuneOptions& o) { o.head.dropout = 1; }},
  };
  for (const auto& [option, spoil] : wrong) {
    FinetuneOptions options = sound;
    spoil(options);
    EXPECT_THAT([&] { validate(options); }, ThrowsMessage<UsageError>(HasSubstr(option)));
  }
}

// An option is written once: its name stands in one describe(), so a command has it once.
TEST(TrainingConfig, GivesEachOptionOneNameAndOnePlace) {
  std::map<std::string, int> times;
  std::set<const void*> places;
  const auto count = [&](const char* name, auto& value, const char* help, OnResume = OnResume::Same) {
    ++times[name];
    EXPECT_TRUE(places.insert(&value).second) << name;
    EXPECT_STRNE(help, "") << name;
  };
  TrainingConfig config;
  FinetuneOptions finetune;
  tasks::PretrainConfig pretrain;
  tasks::RetrievalConfig retrieval;
  describe(config, count);
  describe(finetune, count);
  describe(pretrain, count);
  describe(retrieval, count);
  for (const auto& [name, n] : times) EXPECT_EQ(n, 1) << name;
  EXPECT_GT(times.size(), 60u);
}

}  // namespace
}  // namespace pixelbert::jobs
