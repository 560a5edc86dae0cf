#include "sources/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "core/check.h"
#include "core/files.h"
#include "images/codec.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::sources {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

// Records whose id is their number; every `bad_every`-th is bad.
Corpus numbered(std::int64_t records, std::int64_t bad_every = 0) {
  Corpus corpus;
  corpus.header.source = "test";
  corpus.header.skipped = {{"empty-text", 3}};
  corpus.files = {{"vocab.txt", "[PAD]\n"}};
  corpus.records = records;
  corpus.record = [bad_every](std::int64_t i) {
    if (bad_every > 0 && i % bad_every == bad_every - 1) {
      throw images::BadImage("truncated", fmt::format("{}.jpg: cut short", i));
    }
    shards::Record record;
    record.images.push_back({i, std::vector<std::uint8_t>(100, static_cast<std::uint8_t>(i)), 1, 1});
    record.texts.push_back({i, fmt::format("text {}", i), {}});
    return record;
  };
  return corpus;
}

class WriteCorpus : public ::testing::Test {
 protected:
  WriteCorpus() { options_.out = folder_.path() / "out"; }

  test::TemporaryFolder folder_;
  ShardOptions options_;
};

TEST_F(WriteCorpus, KeepsTheOrderAndLeavesOutTheBad) {
  write_corpus(options_, numbered(1000, 10));
  const shards::ShardSet set(options_.out);
  ASSERT_EQ(set.images(), 900);
  for (std::int64_t i = 0; i < 900; ++i) ASSERT_EQ(set.image_id(i), i / 9 * 10 + i % 9);
  EXPECT_EQ(set.manifest().skipped, (std::map<std::string, std::int64_t>{{"empty-text", 3}, {"truncated", 100}}));
  EXPECT_EQ(read_file(set.vocabulary()), "[PAD]\n");
  EXPECT_THAT(shards::verify(options_.out).problems, IsEmpty());
}

TEST_F(WriteCorpus, StopsWhenMoreAreBadThanAllowed) {
  options_.max_bad = 99;
  EXPECT_THAT([&] { write_corpus(options_, numbered(1000, 10)); },
              ThrowsMessage<Error>(HasSubstr("100 images are bad, --max-bad allows 99; the last: 999.jpg: cut short")));
  EXPECT_THROW(shards::ShardSet(options_.out), Error);  // no manifest, no data set
}

TEST_F(WriteCorpus, StopsWhenNothingIsLeft) {
  EXPECT_THAT([&] { write_corpus(options_, numbered(5, 1)); },
              ThrowsMessage<Error>(HasSubstr("none of the 5 images could be used")));
  EXPECT_THAT(
      [&] { write_corpus(options_, numbered(0)); },
      ThrowsMessage<Error>(HasSubstr("there is nothing to shard: no image has a text; left out: 3 empty-text")));
}

TEST_F(WriteCorpus, PassesOnWhatIsNotAboutOneImage) {
  Corpus corpus = numbered(100);
  corpus.record = [](std::int64_t i) -> shards::Record { fail(fmt::format("cannot read {}: Input/output error", i)); };
  EXPECT_THAT([&] { write_corpus(options_, corpus); },
              ThrowsMessage<Error>(HasSubstr("cannot read 0: Input/output error")));
}

TEST_F(WriteCorpus, AsksForEachRecordOnce) {
  std::vector<std::atomic<int>> asked(500);
  Corpus corpus = numbered(500);
  corpus.record = [&asked, make = corpus.record](std::int64_t i) {
    ++asked[static_cast<std::size_t>(i)];
    return make(i);
  };
  write_corpus(options_, corpus);
  for (const std::atomic<int>& times : asked) ASSERT_EQ(times, 1);
}

TEST_F(WriteCorpus, InPartsIsTheSameRowsAndCounts) {
  for (const char* part : {"2/3", "1/3", "3/3"}) {
    options_.part = part;
    write_corpus(options_, numbered(100, 10));
  }
  const shards::ShardSet set(options_.out);
  EXPECT_EQ(read_file(set.vocabulary()), "[PAD]\n");
  ASSERT_EQ(set.images(), 90);
  for (std::int64_t i = 0; i < 90; ++i) ASSERT_EQ(set.image_id(i), i / 9 * 10 + i % 9);
  EXPECT_EQ(set.manifest().skipped, (std::map<std::string, std::int64_t>{{"empty-text", 3}, {"truncated", 10}}));
}

TEST_F(WriteCorpus, WithMorePartsThanRecordsStillJoins) {
  for (int k = 1; k <= 4; ++k) {
    options_.part = fmt::format("{}/4", k);
    write_corpus(options_, numbered(2));
  }
  EXPECT_EQ(shards::ShardSet(options_.out).images(), 2);
}

TEST_F(WriteCorpus, JoinsAPartWithoutAnyGoodImage) {
  for (int k = 1; k <= 3; ++k) {
    options_.part = fmt::format("{}/3", k);
    write_corpus(options_, numbered(3, 3));
  }
  EXPECT_EQ(shards::ShardSet(options_.out).images(), 2);

  options_.out = folder_.path() / "none";
  options_.part = "1/2";
  write_corpus(options_, numbered(2, 1));
  options_.part = "2/2";
  EXPECT_THAT([&] { write_corpus(options_, numbered(2, 1)); },
              ThrowsMessage<Error>(HasSubstr("none of the images could be used")));
  EXPECT_THROW(shards::ShardSet(options_.out), Error);
}

TEST_F(WriteCorpus, RefusesBadOptions) {
  for (const char* part : {"3", "0/2", "3/2", "1/", "/2", "1/2x", "-1/2", "one/two"}) {
    options_.part = part;
    EXPECT_THAT([&] { write_corpus(options_, numbered(1)); },
                ThrowsMessage<UsageError>(HasSubstr("--part: expected i/n with 1 <= i <= n")))
        << part;
  }
  EXPECT_THAT([&] { write_corpus({}, numbered(1)); },
              ThrowsMessage<UsageError>("--out is missing: the folder to fill with shards"));
  EXPECT_THAT([&] { write_corpus({"x", -1, 1, ""}, numbered(1)); }, ThrowsMessage<UsageError>(HasSubstr("--max-bad")));
  EXPECT_THAT([&] { write_corpus({"x", 1, 0, ""}, numbered(1)); }, ThrowsMessage<UsageError>(HasSubstr("--shard-mib")));
}

}  // namespace
}  // namespace pixelbert::sources
