#include "optim/schedule.h"

#include <gtest/gtest.h>

namespace pixelbert::optim {
namespace {

TEST(LearningRate, GrowsLinearlyFromTheWarmupFactorToTheFullRate) {
  for (const std::int64_t warmup : {1, 2, 7, 1000}) {
    for (const double factor : {0.0, 1.0 / 3, 1.0}) {
      const Schedule schedule{.base = 0.3, .warmup_steps = warmup, .warmup_factor = factor, .drop_at_steps = {}};
      EXPECT_DOUBLE_EQ(learning_rate(schedule, 0), 0.3 * factor);
      EXPECT_DOUBLE_EQ(learning_rate(schedule, warmup), 0.3);
      for (std::int64_t step = 0; step < warmup; ++step) {
        EXPECT_NEAR(learning_rate(schedule, step + 1) - learning_rate(schedule, step), 0.3 * (1 - factor) / warmup,
                    1e-15)
            << "at step " << step << " of " << warmup << " from " << factor;
      }
    }
  }
}

TEST(LearningRate, WithoutWarmupIsFullFromTheFirstStep) {
  EXPECT_DOUBLE_EQ(learning_rate({.base = 0.5, .warmup_steps = 0, .drop_at_steps = {}}, 0), 0.5);
}

TEST(LearningRate, DropsTenfoldAtEachListedStep) {
  const Schedule schedule{.base = 1, .warmup_steps = 3, .drop_at_steps = {25, 35}, .drop_factor = 0.1};
  for (std::int64_t step = 3; step < 50; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate(schedule, step), step < 25 ? 1 : step < 35 ? 0.1 : 0.01) << "at step " << step;
  }
}

TEST(LearningRate, MultipliesWarmupAndDropWhereTheyOverlap) {
  const Schedule schedule{.base = 1, .warmup_steps = 10, .warmup_factor = 0, .drop_at_steps = {5}, .drop_factor = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 4), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(schedule, 5), 0.05);
}

}  // namespace
}  // namespace pixelbert::optim
