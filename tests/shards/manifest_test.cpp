#include "shards/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  manifest.files = {{"shard-00000.h5", 123, 0xdeadbeef, 130, 7, {4, 3}}, {"shard-00001.h5", 45, 1, 1, 2, {2}}};
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
  EXPECT_EQ(manifest.identity(), example().identity());
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
                        HasSubstr("has no manifest.json: it is no shard folder, or its making was interrupted")));

  write_file(folder.path() / kManifestName, "{\"files\": [");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is damaged")));
  write_file(folder.path() / kManifestName, "{\"files\": []}");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is no manifest of shards")));
  write_file(folder.path() / kManifestName, "{\"format\": \"pixelbert-shards\", \"version\": 99}");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("is format 99, this build reads 1: make the shards again")));
  write_file(folder.path() / kManifestName, "{\"format\": \"pixelbert-shards\", \"version\": 1}");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("key 'source' not found")));

  Manifest wrong = example();
  wrong.files[0].block_texts = {4, 4};
  write_manifest_file(folder.path() / kManifestName, wrong);
  EXPECT_THAT(read, ThrowsMessage<Error>(
                        HasSubstr("shard-00000.h5 has 130 images and 7 texts, but its block_texts are 2 blocks of 8")));
}

}  // namespace
}  // namespace pixelbert::shards
