#include "data/batch_maker.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <set>
#include <sstream>

#include "tasks/pretrain.h"
#include "tests/data/tiny_shards.h"
#include "tests/images/encode.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::data {
namespace {

using images::Size;

// Two data sets of 12 and 7 images of different sizes, 1 to 6 texts each.
class BatchMakerTest : public testing::Test {
 protected:
  BatchMakerTest() {
    sets_ = {test::write_shards(folder_.path() / "first", records(12, 0)),
             test::write_shards(folder_.path() / "second", records(7, 50))};
    config_.image = {.short_side = 24, .long_side = 40};
    remake();
  }

  static std::vector<shards::Record> records(std::int64_t count, std::int64_t first_id) {
    const std::vector<Size> sizes = {{24, 32}, {48, 30}, {10, 40}, {24, 24}, {7, 300}, {90, 20}};
    std::vector<shards::Record> records;
    for (std::int64_t i = 0; i < count; ++i) {
      records.push_back(test::record_of(first_id + i, sizes[static_cast<std::size_t>(i) % sizes.size()], 1 + i % 6));
    }
    return records;
  }

  void remake() {
    stream_ = std::make_unique<SampleStream>(test::blocks_of(sets_, 4), test::text_counts_of(sets_),
                                             StreamConfig{.global_batch = 30, .micro_batch = 10}, /*seed=*/3);
    maker_ = std::make_unique<BatchMaker>(sets_, *stream_, tokenizer_, config_, task_);
  }

  // All micro-batches of 10 pairs of one epoch.
  std::vector<Batch> epoch(std::int64_t number = 0) {
    std::vector<Batch> batches;
    for (Position at{number, 0}; at.epoch == number; at = stream_->after(at)) {
      for (const MicroBatch& micro_batch : micro_batches(stream_->pairs_in_step(at), 10, {})) {
        batches.push_back(*maker_->make(at, micro_batch, {}));
      }
    }
    return batches;
  }

  const shards::ShardSet& set(const Pair& pair) { return *sets_[static_cast<std::size_t>(pair.data_set)]; }

  test::TemporaryFolder folder_;
  DataSets sets_;
  text::WordPiece tokenizer_{test::vocabulary()};
  BatchConfig config_;
  tasks::PretrainTask task_;
  std::unique_ptr<SampleStream> stream_;
  std::unique_ptr<BatchMaker> maker_;
};

TEST_F(BatchMakerTest, ImagesAreResizedNormalisedAndZeroBelowAndRight) {
  std::set<std::pair<bool, bool>> margins;
  for (const Batch& made : epoch()) {
    ASSERT_TRUE(made.images.is_contiguous(at::MemoryFormat::ChannelsLast));
    ASSERT_EQ(made.images.scalar_type(), at::kByte);
    const Batch batch = made.to(torch::kCPU);
    ASSERT_TRUE(batch.images.is_contiguous(at::MemoryFormat::ChannelsLast));
    ASSERT_EQ(batch.images.scalar_type(), at::kFloat);
    std::int64_t height = 0, width = 0;
    for (std::int64_t b = 0; b < std::ssize(batch.pairs); ++b) {
      const Pair& pair = batch.pairs[static_cast<std::size_t>(b)];
      const std::int64_t i = batch.image_of_row[b].item<std::int64_t>();
      const std::int64_t h = batch.image_sizes[i][0].item<std::int64_t>();
      const std::int64_t w = batch.image_sizes[i][1].item<std::int64_t>();
      height = std::max(height, h);
      width = std::max(width, w);
      const torch::Tensor stored = images::decode(set(pair).image(pair.image));
      ASSERT_EQ((Size{h, w}), images::resized({stored.size(0), stored.size(1)}, config_.image));

      const torch::Tensor image = batch.images[i];
      const test::Colour colour = test::colour_of(set(pair).image_id(pair.image));
      for (std::int64_t c = 0; c < 3; ++c) {
        const auto expected =
            static_cast<float>((colour[static_cast<std::size_t>(c)] - images::kMean[c]) / images::kDeviation[c]);
        const torch::Tensor inside = image[c].narrow(0, 0, h).narrow(1, 0, w);
        ASSERT_LT((inside - expected).abs().max().item<float>(), 1e-5);
      }
      ASSERT_EQ(image.narrow(1, h, image.size(1) - h).count_nonzero().item<std::int64_t>(), 0);
      ASSERT_EQ(image.narrow(2, w, image.size(2) - w).count_nonzero().item<std::int64_t>(), 0);
      margins.emplace(h < image.size(1), w < image.size(2));
    }
    ASSERT_EQ(batch.images.size(2), height);
    ASSERT_EQ(batch.images.size(3), width);
  }
  EXPECT_EQ(margins.size(), 4u);  // the data had margins on both axes, on one, and none
}

TEST_F(BatchMakerTest, BatchesHaveTheShapesOfTheStreamWithSidesThatAreMultiples) {
  config_.image.size_multiple = 16;
  const StreamConfig config = {.global_batch = 30, .micro_batch = 10};
  const SampleStream stream = make_stream(sets_, config, /*seed=*/3, config_.image);
  const BatchMaker maker(sets_, stream, tokenizer_, config_, task_);
  bool has_padding = false;
  for (Position at; at.epoch == 0; at = stream.after(at)) {
    for (const MicroBatch& micro_batch : stream.micro_batches(at, {})) {
      const Batch batch = *maker.make(at, micro_batch, {});
      const Shape shape = stream.shape(at, micro_batch.first, micro_batch.last);
      ASSERT_EQ(batch.images.size(0), shape.images);
      ASSERT_EQ(batch.image_sizes.select(1, 0).max().item<std::int64_t>(), shape.height);
      ASSERT_EQ(batch.image_sizes.select(1, 1).max().item<std::int64_t>(), shape.width);
      ASSERT_EQ(batch.image_sizes.prod(1).sum().item<std::int64_t>(), shape.pixels);
      ASSERT_EQ((Size{batch.images.size(2), batch.images.size(3)}),
                images::padded({shape.height, shape.width}, config_.image));
      ASSERT_EQ(batch.images.size(2) % 16, 0);
      ASSERT_EQ(batch.images.narrow(2, shape.height, batch.images.size(2) - shape.height).count_nonzero().item<int>(),
                0);
      has_padding |= batch.images.size(2) > shape.height && batch.images.size(3) > shape.width;
    }
  }
  EXPECT_TRUE(has_padding);
}

TEST_F(BatchMakerTest, NeighbouringPairsOfOneImageShareItsPixels) {
  std::int64_t pairs = 0, images = 0;
  for (const Batch& batch : epoch()) {
    const auto* image_of_row = batch.image_of_row.data_ptr<std::int64_t>();
    ASSERT_EQ(image_of_row[0], 0);
    ASSERT_EQ(image_of_row[batch.pairs.size() - 1] + 1, batch.images.size(0));
    for (std::size_t i = 1; i < batch.pairs.size(); ++i) {
      const bool same =
          batch.pairs[i].image == batch.pairs[i - 1].image && batch.pairs[i].data_set == batch.pairs[i - 1].data_set;
      ASSERT_EQ(image_of_row[i], image_of_row[i - 1] + !same);
    }
    pairs += std::ssize(batch.pairs);
    images += batch.images.size(0);
  }
  EXPECT_EQ(pairs, stream_->pairs_per_epoch());
  EXPECT_LT(images, pairs / 2);
}

TEST_F(BatchMakerTest, TokensAreThoseOfThePairsTextPaddedToTheLongest) {
  task_.options.mask_probability = 0;
  config_.text.max_tokens = 7;  // cuts some
  remake();
  for (const Batch& batch : epoch()) {
    std::int64_t longest = 0;
    for (std::int64_t b = 0; b < std::ssize(batch.pairs); ++b) {
      const Pair& pair = batch.pairs[static_cast<std::size_t>(b)];
      const std::vector<std::int64_t> expected = tokenizer_.encode(set(pair).text(pair.text), 7);
      const auto length = std::ssize(expected);
      longest = std::max(longest, length);
      for (std::int64_t t = 0; t < batch.tokens.size(1); ++t) {
        ASSERT_EQ(batch.tokens[b][t].item<std::int64_t>(),
                  t < length ? expected[static_cast<std::size_t>(t)] : tokenizer_.vocabulary().pad());
        ASSERT_EQ(batch.token_mask[b][t].item<bool>(), t < length);
      }
    }
    ASSERT_EQ(batch.tokens.size(1), longest);
    ASSERT_EQ(batch.mlm_positions.numel(), 0);
  }
}

TEST_F(BatchMakerTest, ExactlyHalfHaveATextOfAnotherImageOfTheirDataSet) {
  for (const Batch& batch : epoch()) {
    std::int64_t negatives = 0;
    for (std::int64_t b = 0; b < std::ssize(batch.pairs); ++b) {
      const Pair& pair = batch.pairs[static_cast<std::size_t>(b)];
      const bool matched = set(pair).image_of_text(pair.text) == pair.image;
      ASSERT_EQ(batch.itm_labels[b].item<float>(), matched ? 1 : 0);
      negatives += !matched;
    }
    ASSERT_EQ(negatives, std::ssize(batch.pairs) / 2);
  }
}

TEST_F(BatchMakerTest, MasksNegativesEvenWhereTheyAreNotPredicted) {
  task_.options.mlm_on_negatives = false;
  task_.options.mask_probability = 0.4;
  remake();
  std::int64_t masked_negatives = 0;
  for (const Batch& batch : epoch()) {
    const torch::Tensor masked = (batch.tokens == tokenizer_.vocabulary().mask()).any(1);
    masked_negatives += masked.logical_and(batch.itm_labels == 0).sum().item<std::int64_t>();
  }
  EXPECT_GT(masked_negatives, 10);
}

TEST_F(BatchMakerTest, MaskLabelsRestoreTheTextAndNegativesArePredictedOnlyWhereAsked) {
  for (const bool on_negatives : {true, false}) {
    task_.options.mlm_on_negatives = on_negatives;
    task_.options.mask_probability = 0.4;
    remake();
    std::int64_t on_matched = 0, on_negative = 0;
    for (const Batch& batch : epoch()) {
      torch::Tensor restored = batch.tokens.clone();
      restored.view(-1).index_put_({batch.mlm_positions}, batch.mlm_labels);
      const std::int64_t length = batch.tokens.size(1);
      for (std::int64_t b = 0; b < std::ssize(batch.pairs); ++b) {
        const Pair& pair = batch.pairs[static_cast<std::size_t>(b)];
        if (!on_negatives && batch.itm_labels[b].item<float>() == 0) continue;  // masked without labels
        const std::vector<std::int64_t> expected = tokenizer_.encode(set(pair).text(pair.text), 40);
        for (std::size_t t = 0; t < expected.size(); ++t) {
          ASSERT_EQ(restored[b][static_cast<std::int64_t>(t)].item<std::int64_t>(), expected[t]);
        }
      }
      for (std::int64_t m = 0; m < batch.mlm_positions.numel(); ++m) {
        const std::int64_t pair = batch.mlm_positions[m].item<std::int64_t>() / length;
        ++(batch.itm_labels[pair].item<float>() == 1 ? on_matched : on_negative);
      }
    }
    EXPECT_GT(on_matched, 20);
    EXPECT_EQ(on_negative > 20, on_negatives);
    EXPECT_EQ(on_negative == 0, !on_negatives);
  }
}

TEST_F(BatchMakerTest, MasksAndPixelKeysAreNewInEveryEpochAndTheSameWhenMadeAgain) {
  const auto keys = [&](std::int64_t number) {
    std::multiset<std::uint64_t> all;
    for (const Batch& batch : epoch(number)) {
      EXPECT_EQ(batch.pixel_keys.size(), batch.pairs.size());
      all.insert(batch.pixel_keys.begin(), batch.pixel_keys.end());
    }
    return all;
  };
  const std::multiset<std::uint64_t> first = keys(0);
  EXPECT_EQ(std::ssize(std::set(first.begin(), first.end())), stream_->pairs_per_epoch());
  EXPECT_EQ(first, keys(0));
  EXPECT_NE(first, keys(1));
  EXPECT_TRUE(at::equal(epoch(0)[0].tokens, epoch(0)[0].tokens));
  EXPECT_FALSE(at::equal(epoch(0)[0].tokens, epoch(1)[0].tokens));
}

TEST_F(BatchMakerTest, HasNoPixelKeysWhereAllPixelsAreUsed) {
  config_.sample_pixels = false;
  remake();
  for (const Batch& batch : epoch()) EXPECT_TRUE(batch.pixel_keys.empty());
}

TEST_F(BatchMakerTest, BlankImagesChangeThePixelsAndNothingElse) {
  const std::vector<Batch> seen = epoch();
  config_.blank_images = true;
  remake();
  const std::vector<Batch> blank = epoch();
  ASSERT_EQ(seen.size(), blank.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const torch::Tensor images = blank[i].to(torch::kCPU).images;
    EXPECT_EQ(images.scalar_type(), at::kFloat);
    EXPECT_EQ(images.count_nonzero().item<std::int64_t>(), 0);
    EXPECT_EQ(images.sizes(), seen[i].images.sizes());
    EXPECT_TRUE(images.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(at::equal(blank[i].image_sizes, seen[i].image_sizes));
    EXPECT_TRUE(at::equal(blank[i].tokens, seen[i].tokens));
    EXPECT_TRUE(at::equal(blank[i].itm_labels, seen[i].itm_labels));
    EXPECT_EQ(blank[i].pairs, seen[i].pairs);
  }
}

TEST_F(BatchMakerTest, MakesNothingOnceAskedToStop) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(maker_->make({0, 0}, {0, 0, 10}, stop.get_token()));
}

TEST_F(BatchMakerTest, MovesEverythingButWhatChoosesThePixels) {
  const Batch batch = epoch()[0];
  const Batch moved = batch.to(torch::Device(torch::kMeta));
  for (const torch::Tensor& tensor :
       {moved.images, moved.tokens, moved.token_mask, moved.mlm_positions, moved.mlm_labels, moved.itm_labels}) {
    EXPECT_TRUE(tensor.is_meta());
  }
  EXPECT_TRUE(moved.image_sizes.is_cpu());
  EXPECT_TRUE(moved.image_of_row.is_cpu());
  EXPECT_EQ(moved.pairs, batch.pairs);
  EXPECT_EQ(moved.pixel_keys, batch.pixel_keys);
}

// One data set of 10 images with 3 texts each; images 2, 3 and 5 cannot be decoded, image 6 and a text of image 8 have
// wrong checksums.
class BadSamplesTest : public testing::Test {
 protected:
  BadSamplesTest() {
    std::vector<shards::Record> records;
    for (std::int64_t id = 0; id < 10; ++id) records.push_back(test::record_of(id, {24, 24}, 3));
    records[2].images[0].encoded = {'h', 'e', 'l', 'l', 'o', ' ', 'w', 'o', 'r', 'l', 'd', '!'};
    records[3].images[0].encoded.resize(records[3].images[0].encoded.size() / 2);
    records[5].images[0].encoded = test::fatal_error_behind_a_warning(test::gradient(24, 24, 3), 24, 24);
    records[8].texts[1].text = "n77 n78 n79";
    sets_ = {test::write_shards(folder_.path() / "bad", records)};
    test::corrupt(folder_.path() / "bad", records[6].images[0].encoded);
    test::corrupt(folder_.path() / "bad", {'n', '7', '7', ' ', 'n', '7', '8'});
    config_.image = {.short_side = 24, .long_side = 40};
  }

  test::TemporaryFolder folder_;
  DataSets sets_;
  text::WordPiece tokenizer_{test::vocabulary()};
  BatchConfig config_;
  tasks::PretrainTask task_;
};

TEST_F(BadSamplesTest, TheNextGoodImageStandsInWithATextOfItsOwn) {
  const SampleStream stream(test::blocks_of(sets_, 4), test::text_counts_of(sets_),
                            {.global_batch = 30, .micro_batch = 30}, /*seed=*/0);
  const BatchMaker maker(sets_, stream, tokenizer_, config_, task_);
  const std::vector<Pair> dealt = stream.pairs({0, 0}, 0, 30);
  const Batch batch = *maker.make({0, 0}, {0, 0, 30}, {});

  const std::map<std::int64_t, std::int64_t> stand_in = {{2, 4}, {3, 4}, {5, 7}, {6, 7}};
  for (std::size_t i = 0; i < dealt.size(); ++i) {
    const auto bad = stand_in.find(dealt[i].image);
    const bool bad_text = dealt[i].text == 8 * 3 + 1;
    ASSERT_EQ(batch.pairs[i].image, bad_text ? 9 : bad != stand_in.end() ? bad->second : dealt[i].image);
    const bool own = batch.pairs[i].text / 3 == batch.pairs[i].image;
    ASSERT_EQ(batch.itm_labels[static_cast<std::int64_t>(i)].item<float>() == 1, own);

    const std::int64_t image = batch.image_of_row[static_cast<std::int64_t>(i)].item<std::int64_t>();
    ASSERT_EQ(batch.images[image][0][0][0].item<int>(), test::colour_of(batch.pairs[i].image)[0]);
  }
  const std::map<std::string, std::int64_t> counted = {
      {"not-an-image", 3}, {"truncated", 3}, {"corrupt", 3}, {"checksum", 4}};
  EXPECT_EQ(batch.bad_samples, counted);
}

TEST_F(BadSamplesTest, StandInsAreTheSameForEveryMaker) {
  const SampleStream stream(test::blocks_of(sets_, 4), test::text_counts_of(sets_),
                            {.global_batch = 30, .micro_batch = 30}, /*seed=*/0);
  const BatchMaker maker(sets_, stream, tokenizer_, config_, task_);
  const BatchMaker other(sets_, stream, tokenizer_, config_, task_);
  const Batch first = *maker.make({4, 0}, {0, 0, 30}, {});
  (void)other.make({2, 0}, {0, 0, 30}, {});
  const Batch again = *other.make({4, 0}, {0, 0, 30}, {});
  EXPECT_EQ(first.pairs, again.pairs);
  EXPECT_TRUE(at::equal(first.images, again.images));
  EXPECT_TRUE(at::equal(first.tokens, again.tokens));
}

TEST_F(BadSamplesTest, EachBadImageIsLoggedOnceWithItsIdAndReason) {
  std::ostringstream lines;
  const auto normal = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines)));
  const SampleStream stream(test::blocks_of(sets_, 4), test::text_counts_of(sets_),
                            {.global_batch = 30, .micro_batch = 30}, /*seed=*/0);
  const BatchMaker maker(sets_, stream, tokenizer_, config_, task_);
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) (void)maker.make({epoch, 0}, {0, 0, 30}, {});
  spdlog::set_default_logger(normal);

  const std::string text = lines.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5) << text;
  for (const std::int64_t id : {2, 3, 5, 6, 8}) {
    EXPECT_THAT(text, testing::HasSubstr("image " + std::to_string(id) + " of "));
  }
}

TEST(BadSamples, NoGoodImageAnywhereIsAnErrorThatNamesTheFolder) {
  const test::TemporaryFolder folder;
  std::vector<shards::Record> records;
  for (std::int64_t id = 0; id < 5; ++id) {
    records.push_back(test::record_of(id, {24, 24}, 1));
    records.back().images[0].encoded = {'n', 'o', 't', 'h', 'i', 'n', 'g', '.'};
  }
  const DataSets sets = {test::write_shards(folder.path() / "hopeless", records)};
  const SampleStream stream(test::blocks_of(sets, 4), test::text_counts_of(sets), {.global_batch = 5, .micro_batch = 5},
                            /*seed=*/0);
  const text::WordPiece tokenizer(test::vocabulary());
  const tasks::PretrainTask task;
  const BatchMaker maker(sets, stream, tokenizer, {}, task);
  try {
    (void)maker.make({0, 0}, {0, 0, 5}, {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("expected a good image in " + (folder.path() / "hopeless").string()));
    EXPECT_THAT(error.what(), testing::HasSubstr("pixelbert inspect"));
  }
}

}  // namespace
}  // namespace pixelbert::data
