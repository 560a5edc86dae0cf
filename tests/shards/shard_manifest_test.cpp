#include "shards/shard_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::shards {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Manifest example() {
  Manifest manifest;
  manifest.source = "coco";
  manifest.options = {{"splits", "train,restval"}};
  manifest.skipped = {{"missing", 2}};
  manifest.repaired = {{"invalid-utf8", 1}};
  manifest.files = {{"shard-00000.h5", 123, 0xdeadbeef, 130, 7, {4, 3}, {{"images/offset", 0xfeedbeef}}},
                    {"shard-00001.h5", 45, 1, 1, 2, {2}}};
  manifest.other_files = {{"vocab.txt", {7, 0xcafebabe}}};
  return manifest;
}

TEST(Manifest, ComesBackAsItWasWritten) {
  const test::TemporaryFolder folder;
  write_manifest_file(folder.path() / kManifestName, example());
  const Manifest manifest = read_manifest(folder.path());
  EXPECT_EQ(manifest.source, "coco");
  EXPECT_EQ(manifest.task, "pairs");
  EXPECT_EQ(manifest.options, example().options);
  EXPECT_EQ(manifest.skipped, example().skipped);
  EXPECT_EQ(manifest.repaired, example().repaired);
  EXPECT_EQ(manifest.images(), 131);
  EXPECT_EQ(manifest.texts(), 9);
  ASSERT_EQ(manifest.files.size(), 2u);
  EXPECT_EQ(manifest.files[0].crc32c, 0xdeadbeef);
  EXPECT_EQ(manifest.files[0].block_texts, (std::vector<std::int64_t>{4, 3}));
  EXPECT_EQ(manifest.files[0].columns, example().files[0].columns);
  EXPECT_TRUE(manifest.files[1].columns.empty());
  ASSERT_EQ(manifest.other_files.size(), 1u);
  EXPECT_EQ(manifest.other_files.at("vocab.txt").bytes, 7);
  EXPECT_EQ(manifest.other_files.at("vocab.txt").crc32c, 0xcafebabe);
  EXPECT_EQ(manifest.identity(), example().identity());
}

TEST(Manifest, NamesFilesWhoseNamesAreNotUtf8) {
  const test::TemporaryFolder folder;
  Manifest manifest = example();
  manifest.options["captions"] = "captions_\xe9.json";
  write_manifest_file(folder.path() / kManifestName, manifest);
  EXPECT_EQ(read_manifest(folder.path()).options.at("captions"), "captions_\uFFFD.json");
}

TEST(Manifest, IdentityIsThatOfTheFilesInTheirOrder) {
  Manifest renamed = example(), changed = example(), swapped = example();
  renamed.files[0].name = "other.h5";
  changed.files[1].crc32c = 2;
  std::swap(swapped.files[0], swapped.files[1]);
  EXPECT_EQ(renamed.identity(), example().identity());
  EXPECT_NE(changed.identity(), example().identity());
  EXPECT_NE(swapped.identity(), example().identity());
}

TEST(Manifest, SaysWhatIsWrongWithAFolder) {
  const test::TemporaryFolder folder;
  const auto read = [&] { read_manifest(folder.path()); };
  EXPECT_THAT([&] { read_manifest(folder.path() / "nowhere"); }, ThrowsMessage<Error>(HasSubstr("no shard folder")));
  EXPECT_THAT(read, ThrowsMessage<Error>(
                        HasSubstr("has no manifest.json: it is not a shard folder, or making it was interrupted")));

  write_file(folder.path() / kManifestName, "{\"files\": [");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is not JSON")));
  write_file(folder.path() / kManifestName, "{\"files\": []}");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is not a manifest of shards")));
  write_file(folder.path() / kManifestName, "{\"format\": \"pixelbert-shards\", \"version\": 99}");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is format 99, this build reads 1: make the shards again")));
  write_file(folder.path() / kManifestName, "{\"format\": \"pixelbert-shards\", \"version\": 1}");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("source is missing")));

  Manifest wrong = example();
  wrong.files[0].block_texts = {4, 4};
  write_manifest_file(folder.path() / kManifestName, wrong);
  EXPECT_THAT(read, ThrowsMessage<Error>(
                        HasSubstr("shard-00000.h5 has 130 images and 7 texts, but its block_texts are 2 blocks of 8")));
}

TEST(Manifest, NamesTheFieldThatCannotBeTrue) {
  struct Case {
    const char* field;
    const char* value;  // JSON; empty: the field is removed
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"/texts", "", "texts is missing"},
      {"/images", "130", "images and texts are 130 and 9, but those of its files are 131 and 9 in all"},
      {"/source", "7", "source is 7, expected a string"},
      {"/task", R"("pairr")", R"(task is "pairr", expected one of pairs, vqa, nlvr2)"},
      {"/options", "[]", "options is [], expected an object"},
      {"/options/splits", "1", "options.splits is 1, expected a string"},
      {"/skipped/missing", "1.23", "skipped.missing is 1.23, expected a whole number from 0 to"},
      {"/skipped/missing", "-1", "skipped.missing is -1, expected a whole number"},
      {"/repaired/invalid-utf8", "true", "repaired.invalid-utf8 is true, expected a whole number"},
      {"/files", "{}", "files is {}, expected a list"},
      {"/files/0", "[1]", "files[0] is [1], expected an object"},
      {"/files/0/bytes", "1.23", "files[0].bytes is 1.23, expected a whole number from 0 to"},
      {"/files/0/bytes", "1e300", "files[0].bytes is 1e+300, expected a whole number"},
      {"/files/0/bytes", "18446744073709551615", "files[0].bytes is 18446744073709551615, expected a whole number"},
      {"/files/0/bytes", R"("123")", R"(files[0].bytes is "123", expected a whole number)"},
      {"/files/0/bytes", "null", "files[0].bytes is null, expected a whole number"},
      {"/files/0/crc32c", "4294967296", "files[0].crc32c is 4294967296, expected a whole number from 0 to 4294967295"},
      {"/files/1/images", "9223372036854775807", "files[1].images is 9223372036854775807, expected a whole number"},
      {"/files/1/texts", "-2", "files[1].texts is -2, expected a whole number"},
      {"/files/1/block_texts", "2", "files[1].block_texts is 2, expected a list"},
      {"/files/0/block_texts/1", "3.5", "files[0].block_texts[1] is 3.5, expected a whole number"},
      {"/files/0/block_texts/0", "-4", "files[0].block_texts[0] is -4, expected a whole number"},
      {"/files/0/columns/images~1offset", "-1", "files[0].columns.images/offset is -1, expected a whole number"},
      {"/files/0/name", R"("../shard-00000.h5")", "expected the name of a file in the folder"},
      {"/files/0/name", R"("..")", "expected the name of a file in the folder"},
      {"/files/0/name", R"("")", "expected the name of a file in the folder"},
      {"/files/0/name", R"("shard\u0000.h5")", "expected the name of a file in the folder"},
      {"/files/1/name", R"("shard-00000.h5")", R"(files[1].name is "shard-00000.h5", which is the name of an earlier)"},
      {"/other_files/vocab.txt", "3", "other_files.vocab.txt is 3, expected an object"},
      {"/other_files/..~1vocab.txt", R"({"bytes": 1, "crc32c": 1})", "expected the name of a file in the folder"},
  };
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / kManifestName;
  write_manifest_file(path, example());
  const nlohmann::json sound = nlohmann::json::parse(read_file(path));
  for (const Case& c : cases) {
    nlohmann::json damaged = sound;
    const nlohmann::json::json_pointer place(c.field);
    if (*c.value != '\0') {
      damaged[place] = nlohmann::json::parse(c.value);
    } else {
      damaged[place.parent_pointer()].erase(place.back());
    }
    write_file(path, damaged.dump());
    EXPECT_THAT([&] { read_manifest_file(path); },
                ThrowsMessage<Error>(::testing::AllOf(HasSubstr(path.string() + " is damaged"), HasSubstr(c.expected))))
        << c.field;
  }
  write_file(path, sound.dump());
  EXPECT_NO_THROW(read_manifest_file(path));
}

TEST(Manifest, OfAnotherProgramMayHaveAMarkAndWholeFloatsAndFieldsOfItsOwn) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / kManifestName;
  write_manifest_file(path, example());
  nlohmann::json root = nlohmann::json::parse(read_file(path));
  root["texts"] = 9.0;
  root["made_by"] = "somebody";
  root["files"][0].erase("columns");  // both were added after version 1
  root.erase("other_files");
  write_file(path, "\xef\xbb\xbf" + root.dump());
  const Manifest manifest = read_manifest_file(path);
  EXPECT_EQ(manifest.texts(), 9);
  EXPECT_TRUE(manifest.files[0].columns.empty());
  EXPECT_TRUE(manifest.other_files.empty());
}

TEST(Manifest, OfAnySizeAndDepthIsRefusedWithoutItsMemory) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / kManifestName;
  const auto read = [&] { read_manifest_file(path); };
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 200'000; ++i) deep += open;
    write_file(path, deep);
    EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("its JSON is more than 64 levels deep")));
  }
  std::filesystem::resize_file(path, 60 << 20);
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is longer than 52428800 bytes")));
}

}  // namespace
}  // namespace pixelbert::shards
