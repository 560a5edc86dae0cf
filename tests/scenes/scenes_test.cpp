#include "scenes/scenes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "core/check.h"
#include "core/files.h"
#include "images/codec.h"
#include "scenes/questions.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/support/temporary_folder.h"
#include "text/wordpiece.h"

namespace pixelbert::scenes {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

class ReadScenes : public ::testing::TestWithParam<const char*> {
 protected:
  ReadScenes() {
    options_.count = 40;
    options_.task = GetParam();
  }
  ScenesOptions options_;
};
INSTANTIATE_TEST_SUITE_P(Task, ReadScenes, ::testing::Values("pairs", "vqa", "nlvr2"));

TEST_P(ReadScenes, GivesTheSameRecordInAnyOrder) {
  const sources::Corpus corpus = read_scenes(options_), again = read_scenes(options_);
  const shards::Record first = corpus.record(7);
  corpus.record(3);
  for (const shards::Record& record : {corpus.record(7), again.record(7)}) {
    EXPECT_EQ(record.images[0].encoded, first.images[0].encoded);
    EXPECT_EQ(record.texts[0].text, first.texts[0].text);
    EXPECT_EQ(record.texts[0].answers, first.texts[0].answers);
  }
}

TEST_P(ReadScenes, HasImagesTextsAndAnswersOfTheTask) {
  const bool two = options_.task == "nlvr2";
  const sources::Corpus corpus = read_scenes(options_);
  EXPECT_EQ(corpus.header.task, options_.task);
  EXPECT_EQ(corpus.records, two ? 20 : 40);
  std::set<std::int64_t> image_ids, texts;
  for (std::int64_t i = 0; i < corpus.records; ++i) {
    const shards::Record record = corpus.record(i);
    ASSERT_EQ(record.images.size(), two ? 2U : 1U);
    ASSERT_EQ(record.texts.size(), 4U);
    for (const shards::StoredImage& image : record.images) {
      image_ids.insert(image.id);
      EXPECT_EQ(images::probe(image.encoded), (images::Size{image.height, image.width}));
    }
    for (const shards::Text& text : record.texts) {
      texts.insert(text.id);
      ASSERT_EQ(text.answers.size(), options_.task == "pairs" ? 0U : 1U);
      if (options_.task == "pairs") continue;
      EXPECT_EQ(text.answers[0].score, 1);
      EXPECT_EQ(text.answers[0].accuracy, 1);
      EXPECT_GE(text.answers[0].index, 0);
      EXPECT_LT(text.answers[0].index, two ? 2 : static_cast<std::int32_t>(answers().size()));
    }
  }
  EXPECT_EQ(image_ids.size(), 40U);
  EXPECT_EQ(texts.size(), static_cast<std::size_t>(4 * corpus.records));
}

TEST_P(ReadScenes, SeedsShareNeitherScenesNorIds) {
  std::set<std::vector<std::uint8_t>> encoded;
  std::set<std::int64_t> ids, text_ids;
  std::size_t texts = 0;
  for (const std::uint64_t seed : {0U, 1U, 2U, 3U, 40U, (1U << 31) - 1}) {
    options_.seed = seed;
    const sources::Corpus corpus = read_scenes(options_);
    for (std::int64_t i = 0; i < corpus.records; ++i) {
      for (shards::Record record = corpus.record(i); shards::StoredImage& image : record.images) {
        ids.insert(image.id);
        encoded.insert(std::move(image.encoded));
      }
      for (const shards::Text& text : corpus.record(i).texts) text_ids.insert(text.id), ++texts;
    }
  }
  EXPECT_EQ(encoded.size(), 6U * 40);
  EXPECT_EQ(ids.size(), 6U * 40);
  EXPECT_GE(*ids.begin(), 0);
  EXPECT_EQ(text_ids.size(), texts);
}

TEST_P(ReadScenes, SaysOnlyWordsOfItsVocabulary) {
  const text::WordPiece tokenizer{text::Vocabulary(vocabulary())};
  options_.count = 2000;
  options_.texts = 8;
  for (options_.level = 1; options_.level <= 3; ++options_.level) {
    const sources::Corpus corpus = read_scenes(options_);
    EXPECT_EQ(corpus.files.at("vocab.txt"), fmt::format("{}\n", fmt::join(vocabulary(), "\n")));
    for (std::int64_t i = 0; i < 40; ++i) {
      for (const shards::Text& text : corpus.record(i).texts) {
        for (const std::int64_t id : tokenizer.encode(text.text, 64)) {
          ASSERT_NE(id, tokenizer.vocabulary().unknown()) << text.text;
        }
      }
    }
  }
}

TEST_P(ReadScenes, BecomesAValidShardFolder) {
  const test::TemporaryFolder folder;
  sources::ShardOptions output;
  output.out = folder.path() / "out";
  write_corpus(output, read_scenes(options_));
  EXPECT_THAT(shards::verify(output.out).problems, IsEmpty());
  const shards::ShardSet set(output.out);
  EXPECT_EQ(set.images(), 40);
  EXPECT_EQ(set.manifest().source, "scenes");
  EXPECT_EQ(set.manifest().options.at("seed"), "0");
  EXPECT_EQ(text::Vocabulary::read(set.vocabulary()).size(), static_cast<std::int64_t>(vocabulary().size()));
}

TEST(ReadScenes, PutsQuestionsInGroupsByTheTypeOfTheirAnswers) {
  ScenesOptions options;
  options.task = "vqa";
  options.level = 2;
  const sources::Corpus corpus = read_scenes(options);
  EXPECT_EQ(corpus.header.options.at("answer-types"), "yes/no,number,other");
  std::map<std::int64_t, std::set<std::string>> answers_of_group;
  for (std::int64_t i = 0; i < 300; ++i) {
    for (const shards::Text& text : corpus.record(i).texts) {
      answers_of_group[text.group].insert(answers()[static_cast<std::size_t>(text.answers[0].index)]);
    }
  }
  ASSERT_EQ(answers_of_group.size(), 3U);
  EXPECT_EQ(answers_of_group[0], (std::set<std::string>{"no", "yes"}));
  EXPECT_EQ(answers_of_group[1], (std::set<std::string>{"four", "three", "two"}));
  EXPECT_EQ(answers_of_group[2].count("red"), 1U);
}

TEST(ReadScenes, PutsEachStatementInAGroupOfItsOwn) {
  ScenesOptions options;
  options.task = "nlvr2";
  const sources::Corpus corpus = read_scenes(options);
  for (const shards::Text& text : corpus.record(3).texts) EXPECT_EQ(text.group, text.id);
  options.task = "pairs";
  EXPECT_EQ(read_scenes(options).record(3).texts[0].group, -1);
}

TEST(ReadScenes, RefusesWhatCannotBe) {
  const auto refused = [](auto alter, const char* message) {
    ScenesOptions options;
    alter(options);
    EXPECT_THAT([&] { read_scenes(options); }, ThrowsMessage<UsageError>(HasSubstr(message)));
  };
  refused([](auto& options) { options.count = 0; }, "--count: expected 1 to 67108864, found 0");
  refused([](auto& options) { options.seed = 1U << 31; }, "--seed: expected below 2^31, found 2147483648");
  refused([](auto& options) { options.task = "pair"; }, "--task: expected pairs, vqa or nlvr2, found 'pair'");
  refused([](auto& options) { options.task = "nlvr2", options.count = 3; }, "--count: expected an even number");
  refused([](auto& options) { options.level = 4; }, "--level: expected 1 to 3, found 4");
  refused([](auto& options) { options.size = 8; }, "--size: expected 32 to 4096, found 8");
  refused([](auto& options) { options.texts = 13; }, "--texts: expected 1 to 12, found 13");
}

TEST(SceneVocabulary, BeginsWithTheSpecialTokensAndHasNoWordTwice) {
  const std::vector<std::string> words = vocabulary();
  EXPECT_EQ(std::vector(words.begin(), words.begin() + 5),
            std::vector<std::string>({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}));
  EXPECT_EQ(std::set<std::string>(words.begin(), words.end()).size(), words.size());
  for (const std::string& word : words) EXPECT_FALSE(word.empty() || word.find(' ') != std::string::npos) << word;
}

}  // namespace
}  // namespace pixelbert::scenes
