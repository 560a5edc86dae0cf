#include "plan/workload.h"

#include <gtest/gtest.h>

namespace pixelbert::plan {
namespace {

TEST(Cut, SpreadsMicroBatchesOverRanks) {
  const Cut even = cut(4096, 64, 16);
  EXPECT_EQ(even.micro_batches, 64);
  EXPECT_EQ(even.least, 4);
  EXPECT_EQ(even.most, 4);
  EXPECT_EQ(even.idle, 0);
  EXPECT_EQ(even.gradients, 2);
}

TEST(Cut, CountsIdleRanksAndTheShortLastMicroBatch) {
  const Cut uneven = cut(100, 40, 4);  // 40, 40, 20
  EXPECT_EQ(uneven.micro_batches, 3);
  EXPECT_EQ(uneven.least, 0);
  EXPECT_EQ(uneven.most, 1);
  EXPECT_EQ(uneven.idle, 1);
  EXPECT_EQ(uneven.gradients, 1);
}

TEST(Fit, TellsPixelsFromPairs) {
  const Cost cost = fit({{.pixels = 100, .pairs = 4, .flops = 520},
                         {.pixels = 300, .pairs = 4, .flops = 1520},
                         {.pixels = 200, .pairs = 2, .flops = 1010}});
  EXPECT_NEAR(cost.per_pixel, 5, 1e-9);
  EXPECT_NEAR(cost.per_pair, 5, 1e-9);
}

TEST(Fit, CountsPairsIfAllImagesHaveOneSize) {
  const Cost cost = fit({{.pixels = 100, .pairs = 4, .flops = 8}, {.pixels = 100, .pairs = 4, .flops = 12}});
  EXPECT_EQ(cost.per_pixel, 0);
  EXPECT_DOUBLE_EQ(cost.per_pair, 2.5);
}

TEST(Largest, TakesTheImagesOfTheBatchWithMorePixels) {
  const BatchShape tall = {.images = 8, .height = 300, .width = 200, .text_tokens = 5};
  const BatchShape wide = {.images = 9, .height = 200, .width = 310, .text_tokens = 4};
  for (const BatchShape& shape : {largest(tall, wide), largest(wide, tall)}) {
    EXPECT_EQ(shape.images, 9);
    EXPECT_EQ(shape.height, 200);
    EXPECT_EQ(shape.width, 310);
    EXPECT_EQ(shape.text_tokens, 5);
  }
}

}  // namespace
}  // namespace pixelbert::plan
