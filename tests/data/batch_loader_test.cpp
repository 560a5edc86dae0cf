#include "data/batch_loader.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "tasks/pretrain.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::data {
namespace {

void expect_equal(const Batch& a, const Batch& b) {
  ASSERT_EQ(a.at, b.at);
  ASSERT_EQ(a.micro_batch, b.micro_batch);
  ASSERT_EQ(a.pairs, b.pairs);
  ASSERT_EQ(a.pixel_keys, b.pixel_keys);
  ASSERT_EQ(a.bad_samples, b.bad_samples);
  ASSERT_TRUE(at::equal(a.images, b.images));
  ASSERT_TRUE(at::equal(a.image_sizes, b.image_sizes));
  ASSERT_TRUE(at::equal(a.image_of_row, b.image_of_row));
  ASSERT_TRUE(at::equal(a.tokens, b.tokens));
  ASSERT_TRUE(at::equal(a.token_mask, b.token_mask));
  ASSERT_TRUE(at::equal(a.mlm_positions, b.mlm_positions));
  ASSERT_TRUE(at::equal(a.mlm_labels, b.mlm_labels));
  ASSERT_TRUE(at::equal(a.itm_labels, b.itm_labels));
}

// Until so many micro-batches are made, but not for ever.
void wait_for(std::int64_t batches, const BatchLoader& loader) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (loader.queued() < batches && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

// 20 images of very different sizes, one of them bad, 59 pairs: steps of 24 pairs in micro-batches of 5.
class BatchLoaderTest : public testing::Test {
 protected:
  BatchLoaderTest() {
    std::vector<shards::Record> records;
    for (std::int64_t id = 0; id < 20; ++id) {
      records.push_back(test::record_of(id, {8 + 13 * (id % 7), 8 + 29 * (id % 5)}, 1 + id % 5));
    }
    records[9].images[0].encoded.resize(20);
    sets_ = {test::write_shards(folder_.path() / "set", records)};
    stream_ = std::make_unique<SampleStream>(test::blocks_of(sets_, 4), test::text_counts_of(sets_),
                                             StreamConfig{.global_batch = 24, .micro_batch = 5, .blocks_in_window = 2},
                                             /*seed=*/1);
    config_.threads = 1;
    config_.queue_batches = 3;
    batch_.image = {.short_side = 32, .long_side = 64};
    maker_ = std::make_unique<BatchMaker>(sets_, *stream_, tokenizer_, batch_, task_);
  }

  std::unique_ptr<BatchLoader> loader(Share share = {}, const Steps& steps = {}) {
    return std::make_unique<BatchLoader>(*maker_, config_, share, steps);
  }

  // Two epochs and a step, as one process makes them.
  std::vector<std::vector<Batch>> reference() {
    std::vector<std::vector<Batch>> steps;
    const auto alone = loader();
    for (Position at; at != Position{2, 1}; at = stream_->after(at)) steps.push_back(alone->load(at));
    return steps;
  }

  test::TemporaryFolder folder_;
  DataSets sets_;
  text::WordPiece tokenizer_{test::vocabulary()};
  BatchConfig batch_;
  tasks::PretrainTask task_;
  LoaderConfig config_;
  std::unique_ptr<SampleStream> stream_;
  std::unique_ptr<BatchMaker> maker_;
};

TEST_F(BatchLoaderTest, RanksTogetherMakeTheSameBatchesAtAnyWorldSizeAndNumberOfThreads) {
  const std::vector<std::vector<Batch>> expected = reference();
  ASSERT_EQ(expected[0].size(), 5u);
  for (const int world_size : {1, 2, 3, 4}) {
    for (const std::int64_t threads : {1, 3}) {
      config_.threads = threads;
      std::vector<std::unique_ptr<BatchLoader>> ranks;
      for (int rank = 0; rank < world_size; ++rank) ranks.push_back(loader({rank, world_size}));
      Position at;
      for (const std::vector<Batch>& step : expected) {
        std::vector<Batch> joined;
        for (const auto& rank : ranks) {
          for (Batch& batch : rank->load(at)) joined.push_back(std::move(batch));
        }
        ASSERT_EQ(joined.size(), step.size());
        for (std::size_t i = 0; i < step.size(); ++i) expect_equal(joined[i], step[i]);
        at = stream_->after(at);
      }
    }
  }
}

TEST_F(BatchLoaderTest, ShowsTheNextBatchAndKeepsIt) {
  const auto shown = loader();
  for (Position at; at != Position{1, 0}; at = stream_->after(at)) {
    while (shown->queued() == 0) std::this_thread::yield();
    const std::optional<Batch> next = shown->next();
    ASSERT_TRUE(next);
    expect_equal(*next, shown->load(at).front());
  }
}

TEST_F(BatchLoaderTest, GoesOnTheSameAfterARestartAnywhere) {
  const std::vector<std::vector<Batch>> expected = reference();
  Position start;
  for (std::size_t first = 0; first < expected.size(); ++first, start = stream_->after(start)) {
    const auto restarted = loader({}, {.begin = start});
    Position at = start;
    for (std::size_t step = first; step < expected.size(); ++step, at = stream_->after(at)) {
      const std::vector<Batch> batches = restarted->load(at);
      ASSERT_EQ(batches.size(), expected[step].size());
      for (std::size_t i = 0; i < batches.size(); ++i) expect_equal(batches[i], expected[step][i]);
    }
  }
}

TEST_F(BatchLoaderTest, ARankWithoutMicroBatchesGetsEmptySteps) {
  for (int rank = 0; rank < 16; ++rank) {
    const auto mine = loader({rank, 16});
    std::size_t loaded = 0;
    for (Position at; at.epoch < 2; at = stream_->after(at)) loaded += mine->load(at).size();
    std::size_t owned = 0;
    for (Position at; at.epoch < 2; at = stream_->after(at)) {
      owned += stream_->micro_batches(at, {rank, 16}).size();
    }
    ASSERT_EQ(loaded, owned);
  }
}

// Each block is read when a window is made; with windows of one block and steps of one window's pairs, that shows how
// far ahead the loader is.
TEST_F(BatchLoaderTest, NeverRunsFurtherAheadThanTheQueue) {
  std::vector<shards::Record> records;
  for (std::int64_t id = 0; id < 60; ++id) records.push_back(test::record_of(id, {8 + 2 * id, 200 - 3 * id}, 5));
  const DataSets sets = {test::write_shards(folder_.path() / "even", records)};
  std::atomic<std::int64_t> windows = 0;
  const auto counts = test::text_counts_of(sets);
  const SampleStream stream(
      test::blocks_of(sets, 1),
      [&](const Block& block) {
        ++windows;
        return counts(block);
      },
      {.global_batch = 5, .micro_batch = 5, .blocks_in_window = 1}, /*seed=*/0);
  config_.threads = 4;
  for (const std::int64_t queue : {1, 2, 5}) {
    config_.queue_batches = queue;
    windows = 0;
    const BatchMaker maker(sets, stream, tokenizer_, batch_, task_);
    BatchLoader ahead(maker, config_, {}, {});
    Position at;
    for (std::int64_t taken = 0; taken < 30; ++taken, at = stream.after(at)) {
      while (ahead.queued() < queue) std::this_thread::yield();  // full again
      ASSERT_LE(ahead.queued(), queue);
      ASSERT_EQ(windows, taken + queue);
      ASSERT_EQ(ahead.load(at).size(), 1u);
    }
  }
}

TEST_F(BatchLoaderTest, MakesNothingPastItsEnd) {
  std::atomic<std::int64_t> windows = 0;
  const auto counts = test::text_counts_of(sets_);
  const SampleStream stream(
      test::blocks_of(sets_, 20),
      [&](const Block& block) {
        ++windows;
        return counts(block);
      },
      {.global_batch = 24, .micro_batch = 5, .blocks_in_window = 1}, /*seed=*/0);
  config_ = {.threads = 3, .queue_batches = 100};
  const BatchMaker maker(sets_, stream, tokenizer_, batch_, task_);
  BatchLoader ending(maker, config_, {}, {.begin = {0, 1}, .end = {1, 0}});
  std::int64_t batches = 0;
  for (Position at{0, 1}; at.epoch == 0; at = stream.after(at)) {
    batches += static_cast<std::int64_t>(stream.micro_batches(at, {}).size());
  }
  wait_for(batches, ending);
  for (Position at{0, 1}; at.epoch == 0; at = stream.after(at)) (void)ending.load(at);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // a second window would be read at once
  EXPECT_EQ(ending.queued(), 0);
  EXPECT_EQ(windows, 1);
  EXPECT_THROW((void)ending.load({1, 0}), Error);
}

TEST_F(BatchLoaderTest, KeepsEveryThreadAtWorkUnlessToldOtherwise) {
  for (const auto& [threads, queued] : {std::pair<std::int64_t, std::int64_t>{1, 4}, {6, 12}}) {
    config_ = {.threads = threads};
    const auto full = loader();
    wait_for(queued, *full);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(full->queued(), queued);
  }
}

TEST_F(BatchLoaderTest, EndsAtAnyMomentWithoutHanging) {
  config_.threads = 3;
  for (int i = 0; i < 60; ++i) {
    const auto ending = loader();
    if (i % 3 == 1) (void)ending->load({0, 0});
    if (i % 3 == 2) {
      while (ending->queued() < config_.queue_batches) std::this_thread::yield();
    }
  }
}

TEST_F(BatchLoaderTest, AnErrorInAThreadIsThrownWhenItIsDueAndFromThenOn) {
  std::vector<shards::Record> records;
  for (std::int64_t id = 0; id < 8; ++id) {
    records.push_back(test::record_of(id, {16, 16}, 1));
    records.back().images[0].encoded = {'n', 'o', 't', 'h', 'i', 'n', 'g', '.'};
  }
  sets_.push_back(test::write_shards(folder_.path() / "hopeless", records));
  // One good step, then a bad one.
  const std::vector<Block> good_then_bad = {
      {.data_set = 0, .first_image = 4, .images = 1, .first_text = 11, .texts = 5},
      {.data_set = 1, .first_image = 0, .images = 5, .first_text = 0, .texts = 5}};
  for (std::uint64_t seed = 0;; ++seed) {
    const SampleStream stream(good_then_bad, test::text_counts_of(sets_),
                              {.global_batch = 5, .micro_batch = 5, .blocks_in_window = 1}, seed);
    if (stream.pairs({0, 0}, 0, 1)[0].data_set != 0) continue;  // the order depends on the seed
    config_.threads = 2;
    const BatchMaker maker(sets_, stream, tokenizer_, batch_, task_);
    BatchLoader failing(maker, config_, {}, {});
    EXPECT_EQ(failing.load({0, 0}).size(), 1u);
    for (int again = 0; again < 2; ++again) {
      try {
        (void)failing.load({0, 1});
        FAIL() << "no error";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("expected a good image in"));
      }
    }
    return;
  }
}

TEST_F(BatchLoaderTest, RefusesStepsOutOfOrder) {
  const auto started = loader({}, {.begin = {0, 1}});
  try {
    (void)started->load({0, 0});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("expected epoch 0 step 1, found epoch 0 step 0"));
  }
  EXPECT_EQ(started->load({0, 1}).size(), 5u);
}

}  // namespace
}  // namespace pixelbert::data
