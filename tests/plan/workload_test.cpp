#include "plan/workload.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "data/data_sets.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

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

class NoObjective final : public objectives::Objective {
 public:
  const std::vector<std::string>& terms() const override { return terms_; }
  std::vector<std::int64_t> counts(const data::Batch&) const override { return {}; }
  std::vector<objectives::LossTerm> losses(model::PixelBert&, const data::Batch&) override { return {}; }
  double flops(const model::PixelBertConfig&, const data::Batch& batch) const override {
    return static_cast<double>(batch.images.numel());
  }

 private:
  std::vector<std::string> terms_;
};

// Images are tall or wide, and grouped by shape within a section. The last section is one step of four images.
TEST(SampledWorkload, SeesTheLargestMicroBatchOfAShortLastSection) {
  const test::TemporaryFolder folder;
  constexpr std::int64_t kImages = 2 * data::kSectionMicroBatches + 4;
  std::vector<shards::Record> records;
  for (std::int64_t id = 0; id < kImages; ++id) {
    records.push_back(test::record_of(id, id % 2 == 0 ? images::Size{32, 64} : images::Size{64, 32}, 1));
  }
  const data::DataSets data = {test::write_shards(folder.path(), records)};
  const images::ImageConfig image = {.short_side = 32, .long_side = 64};
  const text::WordPiece tokenizer(test::vocabulary());
  const test::PlainRows rows;
  int mixed = 0;
  for (std::uint64_t seed = 0; seed < 20 && mixed < 3; ++seed) {
    const data::SampleStream stream =
        data::make_stream(data, {.global_batch = 4, .micro_batch = 2, .texts_per_image = 1}, seed, image);
    const data::Position last = {0, stream.steps_per_epoch() - 1};
    std::int64_t most = 0;
    for (const data::MicroBatch& batch : stream.micro_batches(last, {})) {
      const data::Shape shape = stream.shape(last, batch.first, batch.last);
      most = std::max(most, shape.height * shape.width);
    }
    if (most < 64 * 64) continue;
    ++mixed;
    const data::BatchMaker maker(data, stream, tokenizer, {.image = image}, rows);
    const Workload workload = sample_workload(maker, NoObjective(), {.backbone = "resnet18"}, 3);
    EXPECT_EQ(workload.largest.height * workload.largest.width, 64 * 64) << "seed " << seed;
    EXPECT_TRUE(workload.sizes_vary);
  }
  EXPECT_EQ(mixed, 3);
}

}  // namespace
}  // namespace pixelbert::plan
