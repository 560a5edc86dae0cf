#include "data/data_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/data/tiny_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class DataSetsTest : public testing::Test {
 protected:
  std::string write(const std::string& name, std::int64_t images) {
    std::vector<shards::Record> records;
    for (std::int64_t id = 0; id < images; ++id) records.push_back(test::record_of(id, {8, 8}, 1 + id % 3));
    test::write_shards(folder_.path() / name, records);
    return folder_.path() / name;
  }

  test::TemporaryFolder folder_;
};

TEST_F(DataSetsTest, AreOpenedInTheirOrderAndNamedByTheirContent) {
  const std::string a = write("a", 3), b = write("b", 5), copy = write("copy", 3);
  const DataSets data = open_data({a, b});
  EXPECT_EQ(data[0]->images(), 3);
  EXPECT_EQ(data[1]->images(), 5);
  const std::vector<std::string> names = identity_of(data);
  EXPECT_THAT(names, ElementsAre(HasSubstr("3 images 6 texts"), HasSubstr("5 images 9 texts")));
  EXPECT_THAT(identity_of(open_data({copy})), ElementsAre(names[0]));
}

TEST_F(DataSetsTest, AreNeeded) {
  EXPECT_THAT([] { open_data({}); }, ThrowsMessage<UsageError>(HasSubstr("--data.shards is missing")));
  EXPECT_THAT([&] { open_data({folder_.path() / "none"}); }, ThrowsMessage<Error>(HasSubstr("none")));
}

TEST_F(DataSetsTest, BringAVocabularyOrNeedOne) {
  const DataSets data = open_data({write("a", 1)});
  EXPECT_THAT([&] { make_tokenizer("", data); }, ThrowsMessage<UsageError>(HasSubstr("--text.vocab is missing")));
  const std::filesystem::path path = folder_.path() / "vocab.txt";
  write_file(path, test::vocabulary().text());
  EXPECT_EQ(make_tokenizer(path, data).vocabulary().size(), test::vocabulary().size());
}

TEST_F(DataSetsTest, AreDealtWholeInEveryEpoch) {
  const SampleStream stream = [&] {  // which keeps the data alive
    return make_stream(open_data({write("a", 140), write("b", 3)}), {.global_batch = 50, .micro_batch = 50}, 7, {});
  }();
  std::set<std::pair<std::int32_t, std::int64_t>> texts;
  for (Position at; at.epoch == 0; at = stream.after(at)) {
    for (const Pair& pair : stream.pairs(at, 0, stream.pairs_in_step(at))) {
      EXPECT_TRUE(texts.emplace(pair.data_set, pair.text).second);
    }
  }
  EXPECT_EQ(std::ssize(texts), stream.pairs_per_epoch());
  EXPECT_EQ(stream.seed(), 7u);
}

TEST_F(DataSetsTest, OfStatementsAboutTwoImagesHaveTheShapeOfBoth) {
  shards::Manifest header;
  header.source = header.task = "nlvr2";
  shards::ShardFolderWriter writer({.folder = folder_.path() / "pair", .shard_mib = 256, .part = {}}, header);
  shards::Record record = test::record_of(0, {20, 10}, 2);
  record.images.push_back(test::record_of(1, {10, 30}, 0).images[0]);
  writer.append(record);
  writer.finish();
  const SampleStream stream = make_stream(open_data({folder_.path() / "pair"}), {.global_batch = 2, .micro_batch = 2},
                                          7, {.short_side = 20, .long_side = 40});
  EXPECT_EQ(stream.shape({}, 0, 2), (Shape{.height = 40, .width = 40, .images = 2, .pixels = 40 * 20 + 13 * 40}));
}

}  // namespace
}  // namespace pixelbert::data
