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
  EXPECT_EQ(even.most_pairs, 256);
  EXPECT_EQ(even.gradients, 2);
}

TEST(Cut, CountsIdleRanksAndTheShortLastMicroBatch) {
  const Cut uneven = cut(100, 40, 4);  // 40, 40, 20
  EXPECT_EQ(uneven.micro_batches, 3);
  EXPECT_EQ(uneven.least, 0);
  EXPECT_EQ(uneven.most, 1);
  EXPECT_EQ(uneven.idle, 1);
  EXPECT_EQ(uneven.most_pairs, 40);
  EXPECT_EQ(uneven.gradients, 1);
  EXPECT_EQ(cut(100, 40, 1).most_pairs, 100);
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
