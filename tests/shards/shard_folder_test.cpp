// Writing a folder of shards and reading it back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "core/files.h"
#include "shards/shard_folder_writer.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/shards/records.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::shards {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

Manifest header(std::string seed = "1") {
  Manifest manifest;
  manifest.source = "test";
  manifest.options = {{"seed", std::move(seed)}};
  return manifest;
}

bool same(const Bytes& read, const std::vector<std::uint8_t>& written) {
  return std::equal(read.begin(), read.end(), written.begin(), written.end());
}

// Images of 1000 bytes: 3 files of about 1 MiB.
constexpr std::int64_t kRecords = 2500;

Manifest write_folder(const fs::path& folder, std::int64_t records = kRecords) {
  ShardFolderWriter writer({folder, 1, {}}, header());
  for (std::int64_t i = 0; i < records; ++i) writer.append(test::record_number(i));
  return writer.finish().value();
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

void flip_byte(const fs::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(at);
  file.put(byte);
}

// The place of `bytes` in the file.
std::streamoff find_bytes(const fs::path& path, const std::vector<std::uint8_t>& bytes) {
  const std::string content = read_file(path);
  return static_cast<std::streamoff>(content.find(std::string(bytes.begin(), bytes.end())));
}

TEST(ShardFolder, GivesBackEveryRecord) {
  const test::TemporaryFolder folder;
  const Manifest manifest = write_folder(folder.path() / "made" / "deep");
  EXPECT_GE(manifest.files.size(), 3u);

  const ShardSet set(folder.path() / "made" / "deep");
  ASSERT_EQ(set.images(), kRecords);
  const std::vector<std::int64_t> counts = set.text_counts(0, kRecords);
  std::int64_t text = 0;
  for (std::int64_t i = 0; i < kRecords; ++i) {
    const Record record = test::record_number(i);
    ASSERT_TRUE(same(set.image(i), record.images[0].encoded)) << i;
    ASSERT_EQ(set.image_id(i), record.images[0].id);
    ASSERT_EQ(set.first_text_of_image(i), text);
    ASSERT_EQ(counts[i], static_cast<std::int64_t>(record.texts.size()));
    for (const Text& expected : record.texts) {
      ASSERT_EQ(set.text(text), expected.text);
      ASSERT_EQ(set.text_id(text), expected.id);
      ASSERT_EQ(set.image_of_text(text), i);
      ASSERT_EQ(set.second_image_of_text(text), -1);
      ASSERT_THAT(set.answers(text), IsEmpty());
      ++text;
    }
  }
  EXPECT_EQ(set.texts(), text);
}

TEST(ShardFolder, CountsTextsOfEveryRunOfImages) {
  const test::TemporaryFolder folder;
  const Manifest manifest = write_folder(folder.path());
  const ShardSet set(folder.path());
  const std::vector<std::int64_t> all = set.text_counts(0, kRecords);
  for (std::int64_t first = 0; first < kRecords; first += 271) {
    for (std::int64_t last = first; last <= kRecords; last += 509) {
      ASSERT_EQ(set.text_counts(first, last), std::vector<std::int64_t>(all.begin() + first, all.begin() + last));
    }
  }
  std::int64_t image = 0;
  for (const ShardFile& file : manifest.files) {
    const std::int64_t end = image + file.images;
    for (const std::int64_t texts : file.block_texts) {
      const std::int64_t last = std::min(end, image + kImagesPerBlock);
      std::int64_t sum = 0;
      for (; image < last; ++image) sum += all[image];
      EXPECT_EQ(texts, sum);
    }
    EXPECT_EQ(image, end);
  }
}

TEST(ShardFolder, KeepsAnswersAndSecondImages) {
  const test::TemporaryFolder folder;
  ShardFolderWriter writer({folder.path(), 1, {}}, header());
  for (std::int64_t i = 0; i < 3; ++i) {
    Record record = test::record_number(2 * i);
    record.images.push_back(test::record_number(2 * i + 1).images[0]);
    record.texts = {{50 + i, "The left image has more dogs.", {{static_cast<std::int32_t>(i % 2), 1, 1}}},
                    {60 + i, "Neither has.", {{3, 0.3f, 0.3f}, {7, 0.9f, 0.9f}}},
                    {70 + i, "Unanswered.", {}}};
    writer.append(std::move(record));
  }
  writer.finish();

  const ShardSet set(folder.path());
  EXPECT_EQ(set.images(), 6);
  EXPECT_THAT(set.text_counts(0, 6), ElementsAre(3, 0, 3, 0, 3, 0));
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t text = 3 * i; text < 3 * i + 3; ++text) {
      EXPECT_EQ(set.image_of_text(text), 2 * i);
      EXPECT_EQ(set.second_image_of_text(text), 2 * i + 1);
    }
    EXPECT_TRUE(same(set.image(2 * i + 1), test::record_number(2 * i + 1).images[0].encoded));
    EXPECT_THAT(set.answers(3 * i), ElementsAre(Answer{static_cast<std::int32_t>(i % 2), 1, 1}));
    EXPECT_THAT(set.answers(3 * i + 1), ElementsAre(Answer{3, 0.3f, 0.3f}, Answer{7, 0.9f, 0.9f}));
    EXPECT_THAT(set.answers(3 * i + 2), IsEmpty());
  }
}

TEST(ShardFolder, KeepsGroupsAndAccuracies) {
  const test::TemporaryFolder folder;
  ShardFolderWriter writer({folder.path(), 1, {}}, header());
  for (std::int64_t i = 0; i < 3; ++i) {
    Record record = test::record_number(i, 1 << 20);  // one per file
    record.texts = {{10 * i, "How many?", {{3, 0.3f, 0}, {4, 0, 0.6f}}, i - 1}, {10 * i + 1, "Why?", {}, 7}};
    if (i == 2) record.texts = {{20, "A caption.", {}}};  // this file has none of the columns
    writer.append(std::move(record));
  }
  ASSERT_THAT(writer.finish()->files, SizeIs(3));
  const ShardSet set(folder.path());
  std::vector<std::int64_t> groups;
  for (std::int64_t text = 0; text < set.texts(); ++text) groups.push_back(set.group(text));
  EXPECT_THAT(groups, ElementsAre(-1, 7, 0, 7, -1));
  EXPECT_THAT(set.answers(2), ElementsAre(Answer{3, 0.3f, 0}, Answer{4, 0, 0.6f}));
  EXPECT_THAT(set.answers(4), IsEmpty());
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
}

TEST(ShardFolder, VerifyNamesAnswersThatCannotBe) {
  const test::TemporaryFolder folder;
  ShardFolderWriter writer({folder.path(), 1, {}}, header());
  Record record = test::record_number(0);
  record.texts = {{1, "Good?", {{3, 0.3f, 0.3f}}}, {2, "Bad?", {{-1, 0.3f, 0.3f}}}, {3, "Bad?", {{0, 1.5f, 1}}}};
  writer.append(std::move(record));
  writer.finish();
  EXPECT_THAT(verify(folder.path()).problems,
              ElementsAre(HasSubstr("shard-00000.h5: answers/index: row 1 is -1, expected 0 or more"),
                          HasSubstr("shard-00000.h5: answers/score: row 2 is 1.5, expected 0 to 1")));
}

TEST(ShardFolder, IsTheSameEachTimeItIsMade) {
  const test::TemporaryFolder folder;
  const Manifest first = write_folder(folder.path() / "a");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // timestamps in files count seconds
  EXPECT_EQ(write_folder(folder.path() / "b").identity(), first.identity());
}

TEST(ShardFolder, IsReadByManyThreadsAtOnceWithFewFilesOpen) {
  const test::TemporaryFolder folder;
  {
    ShardFolderWriter writer({folder.path(), 1, {}}, header());
    for (std::int64_t i = 0; i < 170; ++i) writer.append(test::record_number(i, 600'000));  // two to a file
    ASSERT_GT(writer.finish()->files.size(), ShardSet::kOpenFiles);
  }
  const ShardSet set(folder.path());
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Random random(t);
      for (int k = 0; k < 100; ++k) {
        const auto row = static_cast<std::int64_t>(random.below(170));
        wrong += !same(set.image(row), test::record_number(row, 600'000).images[0].encoded);
        wrong += set.image_of_text(set.first_text_of_image(row | 1)) != (row | 1);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(ShardFolder, DoesNotExistUntilFinished) {
  const test::TemporaryFolder folder;
  {
    ShardFolderWriter writer({folder.path(), 1, {}}, header());
    for (std::int64_t i = 0; i < kRecords; ++i) writer.append(test::record_number(i));
  }  // interrupted
  EXPECT_THAT([&] { ShardSet set(folder.path()); }, ThrowsMessage<Error>(HasSubstr("making it was interrupted")));
}

TEST(ShardFolder, ClearsWhatAnInterruptedRunLeft) {
  const test::TemporaryFolder folder;
  for (const char* name : {"shard-00000.h5", "shard-00007.h5", "shard-00001.h5.tmp", "vocab.txt", "mine.h5"}) {
    write_file(folder.path() / name, "left over");
  }
  write_folder(folder.path(), 10);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("manifest.json", "mine.h5", "shard-00000.h5", "vocab.txt"));
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
}

TEST(ShardFolder, IsNeverOverwrittenOnceFinished) {
  const test::TemporaryFolder folder;
  write_folder(folder.path(), 10);
  EXPECT_THAT([&] { write_folder(folder.path(), 10); },
              ThrowsMessage<Error>(HasSubstr("is a finished shard folder already: remove it, or give another --out")));
}

TEST(ShardFolder, LeavesNoFileWhenTheDiskIsFull) {
  // A limit on the size of files fails a write in the middle, as a full disk does.
  struct Limit {
    Limit() {
      std::signal(SIGXFSZ, SIG_IGN);
      getrlimit(RLIMIT_FSIZE, &before);
      const rlimit half_a_file{512 << 10, before.rlim_max};
      setrlimit(RLIMIT_FSIZE, &half_a_file);
    }
    ~Limit() { setrlimit(RLIMIT_FSIZE, &before); }
    rlimit before;
  };
  const test::TemporaryFolder folder;
  {
    const Limit limit;
    EXPECT_THAT([&] { write_folder(folder.path()); },
                ThrowsMessage<Error>(::testing::AllOf(HasSubstr("cannot write"), HasSubstr("shard-00000.h5.tmp"),
                                                      HasSubstr("File too large"))));
  }
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
  write_folder(folder.path());  // there is space again
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
}

TEST(ShardFolder, SaysWhyItCannotBeMade) {
  const test::TemporaryFolder folder;
  write_file(folder.path() / "file", "");
  EXPECT_THAT([&] { write_folder(folder.path() / "file" / "below"); },
              ThrowsMessage<Error>(HasSubstr("cannot make the folder")));
}

class ShardFolderParts : public ::testing::TestWithParam<int> {};

TEST_P(ShardFolderParts, JoinedAreTheSameRowsAsOne) {
  const int count = GetParam();
  const test::TemporaryFolder folder;
  for (int k = count; k >= 1; --k) {  // in any order
    EXPECT_FALSE(fs::exists(folder.path() / kManifestName));
    Manifest part_header = header();
    part_header.skipped["missing"] = k;
    ShardFolderWriter writer({folder.path(), 1, {k, count}}, part_header);
    for (std::int64_t i = kRecords * (k - 1) / count; i < kRecords * k / count; ++i) {
      writer.append(test::record_number(i));
    }
    EXPECT_EQ(writer.finish().has_value(), k == 1);
  }
  const ShardSet set(folder.path());
  EXPECT_EQ(set.manifest().skipped, (std::map<std::string, std::int64_t>{{"missing", count * (count + 1) / 2}}));
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
  ASSERT_EQ(set.images(), kRecords);
  for (std::int64_t i = 0; i < kRecords; i += 7) ASSERT_EQ(set.image_id(i), 1000 + i);
}

INSTANTIATE_TEST_SUITE_P(Counts, ShardFolderParts, ::testing::Values(2, 3, 5));

TEST(ShardFolderParts, TouchNothingOfEachOther) {
  const test::TemporaryFolder folder;
  ShardFolderWriter first({folder.path(), 1, {1, 2}}, header());
  for (std::int64_t i = 0; i < kRecords; ++i) first.append(test::record_number(i));
  ShardFolderWriter second({folder.path(), 1, {2, 2}}, header());
  EXPECT_FALSE(second.finish());
  ASSERT_TRUE(first.finish());
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
  EXPECT_EQ(ShardSet(folder.path()).images(), kRecords);
}

TEST(ShardFolderParts, OfDifferentSetsAreRefused) {
  const test::TemporaryFolder folder;
  ShardFolderWriter({folder.path(), 1, {1, 2}}, header("1")).finish();
  EXPECT_THAT([&] { ShardFolderWriter({folder.path(), 1, {2, 3}}, header("1")); },
              ThrowsMessage<Error>(HasSubstr("holds manifest.part-1-of-2.json, but this run makes part 2 of 3")));
  ShardFolderWriter other({folder.path(), 1, {2, 2}}, header("2"));
  EXPECT_THAT([&] { other.finish(); },
              ThrowsMessage<Error>(HasSubstr("was made with other options or from other data")));
}

// The same command after a file of annotations has changed, or with another --count.
TEST(ShardFolderParts, OfOtherDataAreRefused) {
  const test::TemporaryFolder folder;
  ShardFolderWriter({folder.path(), 1, {1, 2}, 40}, header()).finish();
  ShardFolderWriter other({folder.path(), 1, {2, 2}, 50}, header());
  EXPECT_THAT([&] { other.finish(); },
              ThrowsMessage<Error>(HasSubstr("was made with other options or from other data")));
}

// The same command started twice, or a whole set and a part.
TEST(ShardFolder, IsFilledByOneProcessAtATime) {
  const test::TemporaryFolder folder;
  const auto refused = [&](Part part) {
    EXPECT_THAT(
        [&] { ShardFolderWriter({folder.path(), 1, part}, header()); },
        ThrowsMessage<Error>(HasSubstr("is in use by the job with pid " + std::to_string(::getpid()) + " on host ")));
  };
  {
    ShardFolderWriter first({folder.path(), 1, {}}, header());
    for (std::int64_t i = 0; i < kRecords; ++i) first.append(test::record_number(i));
    refused({1, 1});
    refused({1, 2});
    ASSERT_TRUE(first.finish());
    EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
  }
  fs::remove(folder.path() / kManifestName);
  {
    ShardFolderWriter part({folder.path(), 1, {1, 2}}, header());
    refused({1, 2});
    refused({1, 1});
    refused({1, 3});
    EXPECT_NO_THROW(ShardFolderWriter({folder.path(), 1, {2, 2}}, header()));
  }
  write_file(folder.path() / "shard-1of2-lock", "of a process that died");
  write_folder(folder.path());
  for (const std::string& name : names_in(folder.path())) EXPECT_THAT(name, ::testing::Not(HasSubstr("lock")));
}

TEST(ShardFolder, KeepsTheChecksumsOfOtherFiles) {
  const test::TemporaryFolder folder;
  for (int number = 1; number <= 2; ++number) {
    ShardFolderWriter writer({folder.path(), 1, {number, 2}}, header());
    if (number == 1) writer.write_other_file("vocab.txt", "[PAD]\n");
    writer.append(test::record_number(number));
    writer.finish();
  }
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());
  const ShardSet set(folder.path());
  EXPECT_NO_THROW(check_other_file(folder.path(), set.manifest(), "vocab.txt"));
  flip_byte(folder.path() / "vocab.txt", 1);
  EXPECT_THAT([&] { check_other_file(folder.path(), set.manifest(), "vocab.txt"); },
              ThrowsMessage<Error>(HasSubstr("vocab.txt: expected checksum")));
  EXPECT_THAT(verify(folder.path()).problems, ElementsAre(HasSubstr("vocab.txt: expected checksum")));
  EXPECT_NO_THROW(check_other_file(folder.path(), set.manifest(), "of-nobody.txt"));
}

TEST(ShardSet, RefusesOnlyTheDamagedRecord) {
  const test::TemporaryFolder folder;
  write_folder(folder.path(), 20);
  const Record record = test::record_number(11);
  const fs::path file = folder.path() / "shard-00000.h5";
  flip_byte(file, find_bytes(file, record.images[0].encoded) + 500);
  const std::string& text = record.texts[0].text;
  flip_byte(file, find_bytes(file, {text.begin(), text.end()}));

  const ShardSet set(folder.path());
  EXPECT_THAT([&] { set.image(11); },
              ThrowsMessage<CorruptRecord>(::testing::AllOf(HasSubstr("image 11 of"), HasSubstr("expected checksum"))));
  EXPECT_THROW(set.text(set.first_text_of_image(11)), CorruptRecord);
  EXPECT_TRUE(same(set.image(10), test::record_number(10).images[0].encoded));
  EXPECT_TRUE(same(set.image(12), test::record_number(12).images[0].encoded));
  EXPECT_THAT(verify(folder.path()).problems, SizeIs(3));  // the file's own checksum, the image, the text
}

TEST(ShardSet, RefusesAFileOfAnotherSize) {
  const test::TemporaryFolder folder;
  write_folder(folder.path(), 20);
  fs::resize_file(folder.path() / "shard-00000.h5", 10'000);
  const ShardSet set(folder.path());
  EXPECT_THAT([&] { set.image(0); },
              ThrowsMessage<Error>(HasSubstr("shard-00000.h5 has 10000 bytes, the manifest says")));
  fs::remove(folder.path() / "shard-00000.h5");
  EXPECT_THAT([&] { set.image(0); }, ThrowsMessage<Error>(HasSubstr("No such file")));
  EXPECT_THAT(verify(folder.path()).problems, ElementsAre(HasSubstr("No such file")));
}

TEST(ShardSet, NamesARowThatIsNotThere) {
  const test::TemporaryFolder folder;
  write_folder(folder.path(), 20);
  const ShardSet set(folder.path());
  EXPECT_THAT([&] { set.image(20); }, ThrowsMessage<Error>(HasSubstr("there is no image 20: the shards have 20")));
  EXPECT_THROW(set.text(-1), Error);
}

TEST(Verify, SummarisesASoundFolder) {
  const test::TemporaryFolder folder;
  ShardFolderWriter writer({folder.path(), 1, {}}, header());
  for (std::int64_t i = 0; i < 8; ++i) writer.append(test::record_number(i));
  writer.count_skipped("truncated");
  writer.finish();
  const Inspection report = verify(folder.path());
  EXPECT_THAT(report.problems, IsEmpty());
  EXPECT_THAT(report.summary, HasSubstr("8 images, 12 texts, 1 files"));
  EXPECT_THAT(report.summary, HasSubstr("seed = 1"));
  EXPECT_THAT(report.summary, HasSubstr("left out      1 truncated"));
}

TEST(Verify, ComparesTheCountsWithTheManifest) {
  const test::TemporaryFolder folder;
  Manifest manifest = write_folder(folder.path(), 200);
  manifest.files[0].block_texts[0] += 1;
  manifest.files[0].block_texts[1] -= 1;
  write_manifest_file(folder.path() / kManifestName, manifest);
  EXPECT_THAT(verify(folder.path()).problems,
              ElementsAre(HasSubstr(
                  "shard-00000.h5: images/first_text: images 0 to 128 have 192 texts, the manifest says 193")));
  manifest.files[0].images = 201;
  write_manifest_file(folder.path() / kManifestName, manifest);
  EXPECT_THAT(verify(folder.path()).problems,
              ElementsAre(HasSubstr("has 200 images and 300 texts, the manifest says 201 and 300")));
}

}  // namespace
}  // namespace pixelbert::shards
