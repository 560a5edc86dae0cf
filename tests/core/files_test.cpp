#include "core/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/check.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Crc32c, GivesTheCheckValueOfItsDefinition) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);  // RFC 3720, appendix B.4's polynomial; the usual check value
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32c, CanBeTakenInPieces) {
  EXPECT_EQ(crc32c(bytes_of("6789"), crc32c(bytes_of("12345"))), crc32c(bytes_of("123456789")));
}

TEST(WriteFile, ReplacesTheContentAndLeavesNothingAside) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "a.json";
  write_file(path, "old");
  write_file(path, "new");
  EXPECT_EQ(read_file(path), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_EQ(crc32c_of_file(path), crc32c(bytes_of("new")));
}

TEST(WriteFile, NamesThePathAndTheReasonWhenItCannot) {
  try {
    write_file("/no/such/folder/a.json", "x");
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("/no/such/folder/a.json.tmp: No such file or directory"));
  }
}

TEST(ReadFile, NamesThePathAndTheReasonWhenItCannot) {
  const test::TemporaryFolder folder;  // opens, but is no file
  EXPECT_THAT([&] { read_file(folder.path()); },
              testing::ThrowsMessage<Error>(testing::HasSubstr(folder.path().string() + ": Is a directory")));
}

}  // namespace
}  // namespace pixelbert
