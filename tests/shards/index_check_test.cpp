// Index columns that are damaged, or cannot be true.
#include "shards/index_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "core/files.h"
#include "shards/shard_file.h"
#include "shards/shard_folder_writer.h"
#include "shards/shard_reader.h"
#include "shards/shard_set.h"
#include "shards/verify_shards.h"
#include "tests/shards/records.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::shards {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

Manifest test_manifest(const char* task) {
  Manifest manifest;
  manifest.source = "test";
  manifest.task = task;
  return manifest;
}

// A file with every column: 5 records of two images with 2 texts each, each with an answer.
std::vector<Record> records() {
  std::vector<Record> records;
  for (std::int64_t i = 0; i < 5; ++i) {
    Record& record = records.emplace_back(test::record_number(2 * i));
    record.images.push_back(test::record_number(2 * i + 1).images[0]);
    record.texts = {{10 * i, "The left image has more dogs.", {{1, 0.5f, 0.25f}}, 2},
                    {10 * i + 1, "Neither has.", {{0, 1, 1}}, 1}};
  }
  return records;
}

const std::vector<const char*> kColumns = {
    "images/offset", "images/length", "images/crc32c", "images/id",          "images/height", "images/width",
    "texts/offset",  "texts/length",  "texts/crc32c",  "texts/id",           "texts/image",   "images/first_text",
    "texts/group",   "answers/first", "answers/index", "texts/second_image", "answers/score", "answers/accuracy"};

// The place of the stored value in the file, and its number of bytes.
std::pair<std::int64_t, std::size_t> place_of(const fs::path& path, const char* column, std::int64_t row) {
  const Hdf5Lock lock;
  const File file(check_hdf5(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "test"));
  const Dataset data(check_hdf5(H5Dopen2(file.get(), column, H5P_DEFAULT), "test"));
  const Datatype type(H5Dget_type(data.get()));
  const std::size_t width = H5Tget_size(type.get());
  return {static_cast<std::int64_t>(H5Dget_offset(data.get())) + row * static_cast<std::int64_t>(width), width};
}

// Sets the row to `value`, in the column's own type.
void set(const fs::path& path, const char* column, std::int64_t row, double value) {
  const auto [offset, width] = place_of(path, column, row);
  std::string content = read_file(path);
  const bool real = std::string(column).ends_with("score") || std::string(column).ends_with("accuracy");
  const std::uint64_t bits =
      real ? std::bit_cast<std::uint32_t>(static_cast<float>(value)) : static_cast<std::uint64_t>(std::llround(value));
  for (std::size_t i = 0; i < width; ++i) {
    content[static_cast<std::size_t>(offset) + i] = static_cast<char>(bits >> (8 * i));
  }
  write_file(path, content);
}

class IndexColumn : public ::testing::TestWithParam<const char*> {};

TEST_P(IndexColumn, OfOneWrongBitIsFoundWhenTheFileIsOpenedAndByInspect) {
  const test::TemporaryFolder folder;
  ShardFolderWriter writer({folder.path(), 1, {}}, test_manifest("pairs"));
  for (Record& record : records()) writer.append(std::move(record));
  Manifest manifest = writer.finish().value();
  const fs::path path = folder.path() / manifest.files[0].name;
  EXPECT_THAT(verify(folder.path()).problems, IsEmpty());

  std::string content = read_file(path);
  content[static_cast<std::size_t>(place_of(path, GetParam(), 3).first)] ^= 1;
  write_file(path, content);
  const std::string expected = fmt::format("{}: {}: expected checksum", path.string(), GetParam());
  EXPECT_THAT([&] { ShardSet(folder.path()).image(0); },
              ThrowsMessage<DamagedIndex>(::testing::AllOf(HasSubstr(expected), HasSubstr("'pixelbert inspect'"))));
  EXPECT_THAT([&] { ShardSet(folder.path()).text(0); }, ThrowsMessage<DamagedIndex>(HasSubstr(expected)));

  manifest.files[0].crc32c = crc32c_of_file(path);  // as if it had been damaged before the checksum was computed
  write_manifest_file(folder.path() / kManifestName, manifest);
  EXPECT_THAT(verify(folder.path()).problems, ElementsAre(HasSubstr(expected)));
}

TEST_P(IndexColumn, ThatIsMissingOrHasNoChecksumIsFound) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "shard-00000.h5";
  ShardFile file = write_shard_file(path, records());
  ASSERT_EQ(file.columns.size(), kColumns.size());
  ASSERT_EQ(file.columns.erase(GetParam()), 1u);
  EXPECT_THAT([&] { ShardReader(path, file); },
              ThrowsMessage<DamagedIndex>(HasSubstr(fmt::format("{}: the manifest has no checksum", GetParam()))));
  file = write_shard_file(path, records());
  {
    const Hdf5Lock lock;
    const File opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    check_hdf5(H5Ldelete(opened.get(), GetParam(), H5P_DEFAULT), "test");
  }
  file.bytes = static_cast<std::int64_t>(fs::file_size(path));
  EXPECT_THAT([&] { ShardReader(path, file); },
              ThrowsMessage<Error>(::testing::AllOf(HasSubstr(GetParam()), HasSubstr("it is not there"))));
}

INSTANTIATE_TEST_SUITE_P(Of, IndexColumn, ::testing::ValuesIn(kColumns));

// Files that were made before the manifest had checksums of columns.
TEST(IndexCheck, WithoutChecksumsFindsWhatCannotBeTrue) {
  struct Case {
    const char* column;
    std::int64_t row;
    double value;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"images/offset", 3, -1, "row 3 is -1, expected a record within"},
      {"images/offset", 3, 1e12, "row 3 is 1000000000000, expected a record within"},
      {"images/offset", 3, 5, "row 3 is 5, expected a record within"},  // in another image
      {"images/length", 9, 4e9, "images/offset: row 9 is "},
      {"images/height", 1, 0, "row 1 is 0, expected 1 or more (1 of 10 rows are wrong)"},
      {"images/width", 1, -7, "row 1 is -7, expected 1 or more"},
      {"images/first_text", 0, 1, "row 0 is 1, expected numbers that rise from 0 to 10"},
      {"images/first_text", 4, 11, "row 4 is 11, expected numbers that rise from 0 to 10"},
      {"images/first_text", 10, 9, "row 10 is 9, expected numbers that rise"},
      {"images/first_text", 1, 1, "texts/image: row 1 is 0, expected the image that it belongs to"},
      {"texts/offset", 2, 0, "row 2 is 0, expected a record within"},
      {"texts/length", 9, 1e6, "texts/offset: row 9 is "},
      {"texts/image", 4, 5, "row 4 is 5, expected the image that it belongs to"},
      {"texts/second_image", 4, 10, "row 4 is 10, expected -1 to 9"},
      {"texts/second_image", 4, -2, "row 4 is -2, expected -1 to 9"},
      {"texts/group", 4, 3, "row 4 is 3, expected -1 to 2"},
      {"texts/group", 4, -2, "row 4 is -2, expected -1 to 2"},
      {"answers/first", 10, 9, "row 10 is 9, expected numbers that rise"},
      {"answers/first", 5, -1, "row 5 is -1, expected numbers that rise"},
      {"answers/index", 7, -1, "row 7 is -1, expected 0 to 1"},
      {"answers/index", 7, 2, "row 7 is 2, expected 0 to 1"},
      {"answers/score", 7, 1.5, "row 7 is 1.5, expected 0 to 1"},
      {"answers/score", 7, NAN, "row 7 is nan, expected 0 to 1"},
      {"answers/accuracy", 7, -0.5, "row 7 is -0.5, expected 0 to 1"},
      {"answers/accuracy", 7, INFINITY, "row 7 is inf, expected 0 to 1"},
  };
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "shard-00000.h5";
  const Limits limits{.groups = 3, .answers = 2};
  for (const Case& c : cases) {
    ShardFile file = write_shard_file(path, records());
    file.columns.clear();
    EXPECT_NO_THROW(ShardReader(path, file, limits));
    set(path, c.column, c.row, c.value);
    const auto open = [&] { ShardReader(path, file, limits); };
    EXPECT_THAT(open, ThrowsMessage<DamagedIndex>(HasSubstr(c.expected))) << c.column << " " << c.value;
  }
}

TEST(IndexCheck, NamesEachDamagedColumn) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "shard-00000.h5";
  const ShardFile file = write_shard_file(path, records());
  set(path, "texts/id", 0, 99);
  set(path, "images/width", 0, 99);
  try {
    ShardReader(path, file);
    FAIL() << "expected a DamagedIndex";
  } catch (const DamagedIndex& error) {
    EXPECT_THAT(error.problems, ElementsAre(HasSubstr("images/width"), HasSubstr("texts/id")));
    EXPECT_THAT(error.what(), HasSubstr("and 1 more columns are damaged"));
  }
}

TEST(IndexCheck, AFileThatWasFoundSoundIsOpenedAgainByWhatIsKeptInMemory) {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / "shard-00000.h5";
  const ShardFile file = write_shard_file(path, records());
  set(path, "texts/id", 0, 99);
  EXPECT_NO_THROW(ShardReader(path, file, {}, /*verified=*/true));
  set(path, "images/crc32c", 0, 99);
  EXPECT_THROW(ShardReader(path, file, {}, /*verified=*/true), DamagedIndex);
}

// What the manifest and answers.txt allow.
TEST(Limits, AreThoseOfTheTask) {
  const test::TemporaryFolder folder;
  Manifest manifest = test_manifest("vqa");
  manifest.options = {{"answer-types", "yes/no,number,other"}};
  ShardFolderWriter writer({folder.path(), 1, {}}, manifest);
  writer.write_other_file(kAnswersName, "yes\nno\n");
  Record record = test::record_number(0);
  record.texts = {{1, "Really?", {{1, 1, 1}}, 2}, {2, "How many?", {{2, 1, 1}}, 3}};
  writer.append(record);
  manifest = writer.finish().value();
  EXPECT_THAT(verify(folder.path()).problems,
              ElementsAre(HasSubstr("texts/group: row 1 is 3, expected -1 to 2 (1 of 2 rows are wrong)"),
                          HasSubstr("answers/index: row 1 is 2, expected 0 to 1 (1 of 2 rows are wrong)")));
  EXPECT_THAT([&] { ShardSet(folder.path()).group(1); }, ThrowsMessage<DamagedIndex>(HasSubstr("texts/group")));

  write_file(folder.path() / kAnswersName, "yes\nnp\n");
  EXPECT_THAT([&] { ShardSet(folder.path()); }, ThrowsMessage<Error>(HasSubstr("answers.txt: expected checksum")));
  EXPECT_THAT(verify(folder.path()).problems, Contains(HasSubstr("answers.txt: expected checksum")));
  fs::remove(folder.path() / kAnswersName);
  EXPECT_THAT([&] { ShardSet(folder.path()); }, ThrowsMessage<Error>(HasSubstr("No such file")));

  manifest.task = "nlvr2";
  write_manifest_file(folder.path() / kManifestName, manifest);
  EXPECT_THAT([&] { ShardSet(folder.path()).group(1); },
              ThrowsMessage<DamagedIndex>(HasSubstr("answers/index: row 1 is 2, expected 0 to 1")));
}

}  // namespace
}  // namespace pixelbert::shards
