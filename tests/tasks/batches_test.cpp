// The rows that tasks make.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "data/batch_maker.h"
#include "tasks/nlvr2.h"
#include "tasks/pretrain.h"
#include "tasks/retrieval.h"
#include "tasks/vqa.h"
#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::tasks {
namespace {

using data::Batch;
using data::Pair;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::int64_t kImages = 9, kTexts = 3;

class TaskBatches : public testing::Test {
 protected:
  // `change` may alter each record before it is written.
  template <class Change>
  void write(Change change) {
    std::vector<shards::Record> records;
    for (std::int64_t id = 0; id < kImages; ++id) {
      records.push_back(test::record_of(2 * id, {24, 24 + 8 * (id % 2)}, kTexts));
      change(records.back());
    }
    sets_ = {test::write_shards(folder_.path() / "shards", records)};
    stream_ = std::make_unique<data::SampleStream>(
        test::blocks_of(sets_, 4), test::text_counts_of(sets_),
        data::StreamConfig{.global_batch = 30, .micro_batch = 30, .texts_per_image = 2},
        /*seed=*/0);
    config_.image = {.short_side = 24, .long_side = 40};
  }

  Batch batch(const Task& task, std::int64_t epoch = 0) {
    const data::BatchMaker maker(sets_, *stream_, tokenizer_, config_, task);
    return *maker.make({epoch, 0}, {0, 0, kImages * kTexts}, {});
  }

  std::vector<std::int64_t> tokens_of(const Batch& batch, std::int64_t row) {
    std::vector<std::int64_t> tokens;
    for (std::int64_t t = 0; t < batch.tokens.size(1); ++t) {
      if (batch.token_mask[row][t].item<bool>()) tokens.push_back(batch.tokens[row][t].item<std::int64_t>());
    }
    return tokens;
  }

  // The image whose colour row `row` has.
  bool sees(const Batch& batch, std::int64_t row, std::int64_t image_id) {
    const std::int64_t image = batch.image_of_row[row].item<std::int64_t>();
    return batch.images[image][0][0][0].item<int>() == test::colour_of(image_id)[0];
  }

  test::TemporaryFolder folder_;
  data::DataSets sets_;
  text::WordPiece tokenizer_{test::vocabulary()};
  data::BatchConfig config_;
  std::unique_ptr<data::SampleStream> stream_;
};

std::vector<std::string> answers(std::size_t count) {
  return std::vector<std::string>(count, "yes");
}

void add_right_image(shards::Record& record) {
  record.images.push_back(record.images[0]);
  record.images[1].id += 1;
  record.images[1].encoded = test::png_of({24, 24}, test::colour_of(record.images[1].id));
  record.images[1].width = 24;
  for (shards::Text& text : record.texts) text.answers = {{static_cast<std::int32_t>(text.id % 2), 1, 1}};
}

TEST_F(TaskBatches, VqaHasTheQuestionsUnmaskedAndTheScoresOfTheirAnswers) {
  write([](shards::Record& record) {
    for (shards::Text& text : record.texts) {
      const auto first = static_cast<std::int32_t>(text.id % 5);
      text.answers = {{first, 1, 1}, {first + 2, 0.3f, 0.3f}};
    }
    record.texts[1].answers.clear();
    record.texts[1].group = 0;  // annotated nevertheless
  });
  const Batch made = batch(VqaTask(answers(8)));
  ASSERT_EQ(made.answer_scores.sizes(), (torch::IntArrayRef{kImages * kTexts, 8}));
  EXPECT_TRUE(made.pixel_keys.empty());
  EXPECT_FALSE(made.mlm_positions.defined());
  for (std::int64_t i = 0; i < kImages * kTexts; ++i) {
    const Pair& pair = made.pairs[static_cast<std::size_t>(i)];
    torch::Tensor expected = at::zeros({8});
    for (const shards::Answer& answer : sets_[0]->answers(pair.text)) expected[answer.index] = answer.score;
    EXPECT_TRUE(made.answer_scores[i].equal(expected));
    EXPECT_EQ(tokens_of(made, i), tokenizer_.encode(sets_[0]->text(pair.text), 40));
    EXPECT_TRUE(sees(made, i, sets_[0]->image_id(pair.image)));
  }
}

TEST_F(TaskBatches, NothingIsLearnedFromATextWithoutALabel) {
  write([](shards::Record& record) {
    add_right_image(record);
    record.texts[1].answers.clear();
  });
  for (const std::shared_ptr<Task>& task :
       Tasks{std::make_shared<VqaTask>(answers(8)), std::make_shared<Nlvr2Task>()}) {
    config_.unlabelled = false;
    EXPECT_THAT([&] { batch(*task); }, ThrowsMessage<Error>(HasSubstr("has no answer to learn from")));
    config_.unlabelled = true;
    EXPECT_NO_THROW(batch(*task));
  }
}

TEST_F(TaskBatches, VqaRefusesAnAnswerOutsideTheModelsVocabulary) {
  write([](shards::Record& record) {
    for (shards::Text& text : record.texts) text.answers = {{8, 1, 1}};
  });
  EXPECT_THAT([&] { batch(VqaTask(answers(8))); }, ThrowsMessage<Error>(HasSubstr("answer 8, expected one of 8")));
}

TEST_F(TaskBatches, Nlvr2ReadsEachStatementBesideTheLeftAndTheRightImage) {
  write(add_right_image);
  const Batch made = batch(Nlvr2Task());
  const std::int64_t statements = kImages * kTexts;
  ASSERT_EQ(made.tokens.size(0), 2 * statements);
  ASSERT_EQ(made.labels.sizes(), torch::IntArrayRef{statements});
  EXPECT_LT(made.images.size(0), 2 * statements);  // neighbours share their images
  for (std::int64_t i = 0; i < statements; ++i) {
    const Pair& pair = made.pairs[static_cast<std::size_t>(i)];
    const std::int64_t left = sets_[0]->image_id(pair.image);
    EXPECT_TRUE(sees(made, 2 * i, left) && sees(made, 2 * i + 1, left + 1));
    EXPECT_EQ(tokens_of(made, 2 * i), tokenizer_.encode(sets_[0]->text(pair.text), 40));
    EXPECT_EQ(tokens_of(made, 2 * i), tokens_of(made, 2 * i + 1));
    EXPECT_EQ(made.labels[i].item<std::int64_t>(), sets_[0]->text_id(pair.text) % 2);
  }
}

TEST_F(TaskBatches, Nlvr2NeedsTwoImagesPerStatement) {
  write([](shards::Record&) {});
  EXPECT_THAT([&] { batch(Nlvr2Task()); }, ThrowsMessage<Error>(HasSubstr("expected two images for statement")));
}

TEST_F(TaskBatches, Nlvr2LeavesOutBothImagesWhereOneIsBad) {
  write([](shards::Record& record) {
    add_right_image(record);
    if (record.images[0].id == 6)
      record.images[1].encoded = {'n', 'o', ' ', 'p', 'i', 'c', 't', 'u', 'r', 'e', '.', '.'};
  });
  const Batch made = batch(Nlvr2Task());
  EXPECT_EQ(made.bad_samples.at("not-an-image"), kTexts);
  for (std::int64_t i = 0; i < kImages * kTexts; ++i) {
    const std::int64_t left = sets_[0]->image_id(made.pairs[static_cast<std::size_t>(i)].image);
    EXPECT_NE(left, 6);
    EXPECT_TRUE(sees(made, 2 * i, left) && sees(made, 2 * i + 1, left + 1));
  }
}

TEST_F(TaskBatches, RetrievalPutsDifferentTextsOfOtherImagesBehindTheOwn) {
  write([](shards::Record&) {});
  RetrievalTask task;
  task.options.negatives = 5;
  const Batch made = batch(task);
  ASSERT_EQ(made.tokens.size(0), kImages * kTexts * 6);
  for (std::int64_t i = 0; i < kImages * kTexts; ++i) {
    const Pair& pair = made.pairs[static_cast<std::size_t>(i)];
    const std::int64_t id = sets_[0]->image_id(pair.image);
    EXPECT_EQ(tokens_of(made, 6 * i), tokenizer_.encode(sets_[0]->text(pair.text), 40));
    std::set<std::vector<std::int64_t>> texts;
    for (std::int64_t row = 6 * i; row < 6 * i + 6; ++row) {
      EXPECT_TRUE(sees(made, row, id));
      texts.insert(tokens_of(made, row));
      const std::string first = tokenizer_.vocabulary().token(tokens_of(made, row)[1]);
      EXPECT_EQ(first == "n" + std::to_string(id), row == 6 * i) << "the first word of a text names its image";
    }
    EXPECT_EQ(texts.size(), 6u);
  }
}

// As the short last block of one data set among blocks of others.
TEST_F(TaskBatches, RetrievalFindsTextsFarFromAnImageThatIsAloneInItsWindow) {
  write([](shards::Record&) {});
  stream_ = std::make_unique<data::SampleStream>(
      test::blocks_of(sets_, 4), test::text_counts_of(sets_),  // 4, 4 and 1 image
      data::StreamConfig{.global_batch = 30, .micro_batch = 30, .texts_per_image = 2, .blocks_in_window = 1}, 0);
  RetrievalTask task;
  task.options.negatives = 5;
  EXPECT_EQ(batch(task).tokens.size(0), kImages * kTexts * 6);
}

TEST_F(TaskBatches, RetrievalSaysWhenTheDataSetIsTooSmall) {
  write([](shards::Record&) {});
  RetrievalTask task;
  task.options.negatives = 100;
  EXPECT_THAT([&] { batch(task); }, ThrowsMessage<Error>(HasSubstr("--retrieval.negatives")));
}

TEST_F(TaskBatches, PretrainingOnOneObjectiveAloneLeavesTheOthersChangesOut) {
  write([](shards::Record&) {});
  PretrainTask task;
  task.options.mask_probability = 0.5;
  task.options.objectives = Objectives::Itm;
  const Batch matching = batch(task);
  EXPECT_EQ(matching.mlm_positions.numel(), 0);
  EXPECT_FALSE(matching.tokens.eq(tokenizer_.vocabulary().mask()).any().item<bool>());
  task.options.objectives = Objectives::Mlm;
  const Batch masked = batch(task);
  EXPECT_TRUE(masked.itm_labels.eq(1).all().item<bool>());
  EXPECT_GT(masked.mlm_positions.numel(), 10);
}

TEST_F(TaskBatches, PretrainingOnMlmFirstHasNegativesOnlyAfterwards) {
  write([](shards::Record&) {});
  PretrainTask task;
  task.options.mlm_epochs = 1;
  task.options.first_mask_probability = 0.9;
  const Batch first = batch(task), later = batch(task, /*epoch=*/1);
  EXPECT_EQ(first.itm_labels.numel(), 0);
  EXPECT_NEAR(later.itm_labels.sum().item<float>(), kImages * kTexts / 2.0, 0.5);
  EXPECT_GT(first.mlm_positions.numel(), 3 * later.mlm_positions.numel());
  for (std::int64_t i = 0; i < kImages * kTexts; ++i) {
    EXPECT_EQ(sets_[0]->image_of_text(first.pairs[static_cast<std::size_t>(i)].text),
              first.pairs[static_cast<std::size_t>(i)].image);
  }
}

}  // namespace
}  // namespace pixelbert::tasks
