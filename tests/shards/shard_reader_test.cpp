// Shards that another program wrote: any layout HDF5 can read is read.
#include "shards/shard_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "shards/shard_file.h"
#include "shards/shard_set.h"
#include "tests/shards/records.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::shards {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr std::int64_t kRecords = 50;

ShardFile write_example(const std::filesystem::path& path) {
  std::vector<Record> records;
  for (std::int64_t i = 0; i < kRecords; ++i) records.push_back(test::record_number(i));
  return write_shard_file(path, records);
}

struct Layout {
  const char* name;
  hsize_t chunk;  // 0: contiguous
  bool compressed;
  hid_t (*type)();  // of the data set as stored
};

// Writes one data set again in another layout, the values unchanged.
void rewrite(const std::filesystem::path& path, const char* name, const Layout& layout) {
  const Hdf5Lock lock;
  const File file(check_hdf5(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "test"));
  std::vector<std::int64_t> values;
  {
    const Dataset old(check_hdf5(H5Dopen2(file.get(), name, H5P_DEFAULT), "test"));
    const Dataspace space(H5Dget_space(old.get()));
    values.resize(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space.get())));
    check_hdf5(H5Dread(old.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "test");
  }
  check_hdf5(H5Ldelete(file.get(), name, H5P_DEFAULT), "test");
  const hsize_t size = values.size();
  const Dataspace space(H5Screate_simple(1, &size, nullptr));
  const PropertyList creation(H5Pcreate(H5P_DATASET_CREATE));
  if (layout.chunk > 0) H5Pset_chunk(creation.get(), 1, &layout.chunk);
  if (layout.compressed) H5Pset_deflate(creation.get(), 4);
  const Dataset made(check_hdf5(
      H5Dcreate2(file.get(), name, layout.type(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), "test"));
  check_hdf5(H5Dwrite(made.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "test");
}

class ShardReaderLayouts : public ::testing::TestWithParam<Layout> {};

TEST_P(ShardReaderLayouts, AreReadAlike) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "shard-00000.h5";
  ShardFile file = write_example(path);
  for (const char* name : {"images/bytes", "images/id", "images/offset", "images/length", "images/crc32c",
                           "images/first_text", "texts/bytes", "texts/id"}) {
    rewrite(path, name, GetParam());
  }
  file.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  const ShardReader reader(path, file);
  std::int64_t text = 0;
  for (std::int64_t i = 0; i < kRecords; ++i) {
    const Record record = test::record_number(i);
    const Bytes image = reader.image(i);
    const std::vector<std::uint8_t>& expected = record.images[0].encoded;
    ASSERT_TRUE(std::equal(image.begin(), image.end(), expected.begin(), expected.end()));
    ASSERT_EQ(reader.image_id(i), record.images[0].id);
    for (const Text& written : record.texts) {
      ASSERT_EQ(reader.text_id(text), written.id);
      ASSERT_EQ(reader.text(text++), written.text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Stored, ShardReaderLayouts,
                         ::testing::Values(Layout{"Chunked", 16, false, [] { return H5T_STD_I64LE; }},
                                           Layout{"Compressed", 32, true, [] { return H5T_STD_I64LE; }},
                                           Layout{"BigEndian", 0, false, [] { return H5T_STD_I64BE; }},
                                           Layout{"Wider", 0, false, [] { return H5T_STD_I64LE; }}),
                         [](const auto& info) { return info.param.name; });

bool has_data_set(const std::filesystem::path& path, const std::string& name) {
  const Hdf5Lock lock;
  const File file(check_hdf5(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "test"));
  const std::string group = name.substr(0, name.find('/'));
  return H5Lexists(file.get(), group.c_str(), H5P_DEFAULT) > 0 && H5Lexists(file.get(), name.c_str(), H5P_DEFAULT) > 0;
}

// So that for example a file of captions is the same as before these columns existed.
TEST(ShardReader, ColumnsThatSayNothingAreNotThere) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "shard-00000.h5";
  const auto written = [&](const Text& text) {
    Record record = test::record_number(1);
    record.texts = {text};
    write_shard_file(path, std::vector{record});
    std::string columns;
    for (const char* name : {"texts/group", "answers/first", "answers/accuracy"})
      columns += has_data_set(path, name) ? '1' : '0';
    return columns;
  };
  EXPECT_EQ(written({1, "A caption.", {}}), "000");
  EXPECT_EQ(written({1, "Of a group.", {}, 0}), "100");
  EXPECT_EQ(written({1, "Scored alike.", {{3, 0.3f, 0.3f}}}), "010");
  EXPECT_EQ(written({1, "Scored apart.", {{3, 0.3f, 0}}, 2}), "111");
}

TEST(ShardReader, AccuracyIsTheScoreWhereItHasNoColumn) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "shard-00000.h5";
  Record record = test::record_number(1);
  record.texts = {{1, "Scored alike.", {{3, 0.3f, 0.3f}, {4, 1, 1}}}};
  const ShardFile file = write_shard_file(path, std::vector{record});
  ASSERT_FALSE(has_data_set(path, "answers/accuracy"));
  EXPECT_EQ(ShardReader(path, file).answers(0), record.texts[0].answers);
}

TEST(ShardReader, RefusesColumnsOfAnotherLength) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "shard-00000.h5";
  Record record = test::record_number(1);
  record.texts = {{1, "One.", {{3, 0.3f, 0}}, 2}, {2, "Two.", {}, 2}};
  const auto shortened = [&](const char* name) {
    ShardFile file = write_shard_file(path, std::vector{record});
    {
      const Hdf5Lock lock;
      const File opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
      check_hdf5(H5Ldelete(opened.get(), name, H5P_DEFAULT), "test");
      const hsize_t size = 5;
      const Dataspace space(H5Screate_simple(1, &size, nullptr));
      const Dataset made(
          H5Dcreate2(opened.get(), name, H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
      const std::vector<std::int64_t> zeros(size);
      check_hdf5(H5Dwrite(made.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()), "test");
    }
    file.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
    ShardReader(path, file);
  };
  EXPECT_THAT([&] { shortened("texts/group"); },
              ThrowsMessage<Error>(HasSubstr("texts/group has 5 rows, expected 2: make the shards again")));
  EXPECT_THAT([&] { shortened("answers/first"); },
              ThrowsMessage<Error>(HasSubstr("answers/first has 5 rows, expected 3: make the shards again")));
  EXPECT_THAT([&] { shortened("answers/accuracy"); },
              ThrowsMessage<Error>(HasSubstr("answers/accuracy has 5 rows, expected 1: make the shards again")));
}

TEST(ShardReader, RefusesAnotherFormat) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "shard-00000.h5";
  const ShardFile file = write_example(path);
  {
    const Hdf5Lock lock;
    const File opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    const Attribute version(H5Aopen(opened.get(), "pixelbert_shard_version", H5P_DEFAULT));
    const std::int64_t future = 7;
    ASSERT_GE(H5Awrite(version.get(), H5T_NATIVE_INT64, &future), 0);
  }
  EXPECT_THAT([&] { ShardReader(path, file); },
              ThrowsMessage<Error>(HasSubstr("is format 7, this build reads 1: make the shards again")));
  {
    const Hdf5Lock lock;
    const File opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
    ASSERT_GE(H5Adelete(opened.get(), "pixelbert_shard_version"), 0);
  }
  EXPECT_THAT([&] { ShardReader(path, file); }, ThrowsMessage<Error>(HasSubstr("is not a shard: it has no attribute")));
}

TEST(ShardReader, RefusesAFileThatIsNotHdf5) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "shard-00000.h5";
  write_file(path, "no such thing");
  ShardFile file;
  file.bytes = 13;
  EXPECT_THAT([&] { ShardReader(path, file); },
              ThrowsMessage<Error>(::testing::AllOf(HasSubstr("cannot open"), HasSubstr("file signature not found"))));
}

}  // namespace
}  // namespace pixelbert::shards
