#include "config/train_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"

namespace pixelbert::config {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Config sound() {
  Config config;
  config.run.dir = "run";
  return config;
}

TEST(Validate, AcceptsTheDefaults) {
  EXPECT_NO_THROW(validate(sound()));
}

TEST(Validate, NamesTheOptionOfEachValueThatCannotWork) {
  const std::vector<std::pair<const char*, void (*)(Config&)>> wrong = {
      {"--run.dir", [](Config& c) { c.run.dir = ""; }},
      {"--data.global-batch", [](Config& c) { c.data.global_batch = 0; }},
      {"--data.micro-batch", [](Config& c) { c.data.micro_batch = 5000; }},
      {"--data.texts-per-image", [](Config& c) { c.data.texts_per_image = 0; }},
      {"--image.long-side", [](Config& c) { c.image.long_side = 100; }},
      {"--text.max-tokens", [](Config& c) { c.text.max_tokens = 513; }},
      {"--model.backbone", [](Config& c) { c.model.backbone = "vgg16"; }},
      {"--model.batch-norm", [](Config& c) { c.model.batch_norm = "sync"; }},
      {"--model.visual-order", [](Config& c) { c.model.visual_order = "pool"; }},
      {"--model.visual-kernel", [](Config& c) { c.model.visual_kernel = 2; }},
      {"--model.frozen-stages", [](Config& c) { c.model.frozen_stages = 6; }},
      {"--model.heads", [](Config& c) { c.model.heads = 7; }},
      {"--model.intermediate", [](Config& c) { c.model.intermediate = -1; }},
      {"--model.dropout", [](Config& c) { c.model.dropout = 1; }},
      {"--model.dropout", [](Config& c) { c.model.dropout = 1 - 0x1p-53; }},  // 1 in float32
      {"--train.device", [](Config& c) { c.compute.device = "tpu"; }},
      {"--train.precision", [](Config& c) { c.compute.precision = "fp16"; }},
      {"--train.max-skipped-steps", [](Config& c) { c.train.max_skipped_steps = 0; }},
      {"--optim.clip-norm", [](Config& c) { c.optim.clip_norm = -1; }},
      {"--checkpoint.every-minutes", [](Config& c) { c.checkpoint.every_minutes = -5; }},
      {"--metrics.port", [](Config& c) { c.metrics.port = 70000; }},
      {"--metrics.port", [](Config& c) { c.metrics.port = -5; }},
      {"--checkpoint.keep", [](Config& c) { c.checkpoint.keep = 0; }},
      {"--comm.bucket-mib", [](Config& c) { c.comm.bucket_mib = 0; }},
      {"--comm.bucket-mib", [](Config& c) { c.comm.bucket_mib = std::int64_t{1} << 62; }},
      {"--train.threads", [](Config& c) { c.compute.threads = (std::int64_t{1} << 32) + 1; }},
      {"--train.epochs", [](Config& c) { c.train.epochs = std::int64_t{1} << 62; }},
      {"--data.blocks-in-window", [](Config& c) { c.data.blocks_in_window = std::int64_t{1} << 62; }},
      {"--model.positions", [](Config& c) { c.model.positions = std::int64_t{1} << 40; }},
      {"--metrics.address", [](Config& c) { c.metrics.address = ""; }},
      {"--metrics.address", [](Config& c) { c.metrics.address = "127.0.0.1,0.0.0.0"; }},
      {"--metrics.progress-every-seconds", [](Config& c) { c.metrics.progress_every_seconds = -1; }},
  };
  for (const auto& [option, spoil] : wrong) {
    Config config = sound();
    spoil(config);
    EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr(option)));
  }
}

TEST(Validate, NamesAllOfThemAtOnce) {
  Config config = sound();
  config.data.global_batch = 0;  // the micro-batch is not at fault then
  config.model.heads = 0;
  config.optim.clip_norm = -1;
  Problems problems;
  find_problems(config, problems);
  EXPECT_THAT(problems.list(),
              testing::UnorderedElementsAre(HasSubstr("--data.global-batch"), HasSubstr("--model.heads"),
                                            HasSubstr("--optim.clip-norm")));
}

TEST(FindStatisticsProblems, RefusesBatchNormThatNeverHasTwoValues) {
  const auto problems_of = [](std::int64_t pictures, void (*change)(Config&)) {
    Config config = sound();
    config.image.short_side = config.image.long_side = 32;
    config.data.micro_batch = 1;
    change(config);
    Problems problems;
    find_statistics_problems(config, pictures, problems);
    return problems.list();
  };
  EXPECT_THAT(problems_of(1, [](Config&) {}),
              testing::ElementsAre(testing::AllOf(HasSubstr("--data.micro-batch 1"), HasSubstr("--image.long-side 32"),
                                                  HasSubstr("--model.batch-norm frozen"))));
  EXPECT_THAT(problems_of(2, [](Config&) {}), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](Config& c) { c.data.micro_batch = 2; }), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](Config& c) { c.image.long_side = 33; }), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](Config& c) { c.model.batch_norm = "frozen"; }), testing::IsEmpty());
  EXPECT_THAT(problems_of(1, [](Config& c) { c.model.frozen_stages = 5; }), testing::IsEmpty());
}

TEST(ValidatePretrain, NamesTheOption) {
  EXPECT_NO_THROW(validate(PretrainConfig{}));
  PretrainConfig config;
  config.mask_probability = 1;
  EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr("--data.mask-probability")));
  config = {};
  config.objectives = "itm,mlm";
  EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr("--train.objectives")));
}

TEST(ValidateFinetune, NamesTheOption) {
  FinetuneConfig sound;
  sound.init = "run";
  EXPECT_NO_THROW(validate(sound));
  const std::vector<std::pair<const char*, void (*)(FinetuneConfig&)>> wrong = {
      {"--init is missing", [](FinetuneConfig& c) { c.init = ""; }},
      {"--finetune.head-dropout", [](FinetuneConfig& c) { c.head_dropout = 1; }},
      {"--retrieval.foreign-texts", [](FinetuneConfig& c) { c.foreign_texts = 0; }},
      {"--retrieval.hard-texts", [](FinetuneConfig& c) { c.hard_texts = 21; }},
  };
  for (const auto& [option, spoil] : wrong) {
    FinetuneConfig config = sound;
    spoil(config);
    EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr(option)));
  }
}

}  // namespace
}  // namespace pixelbert::config
