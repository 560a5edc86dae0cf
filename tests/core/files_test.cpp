#include "core/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <new>
#include <thread>

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

TEST(Crc32c, OfTwoPartsIsThatOfTheWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text.push_back(static_cast<char>(i * i % 251));
  const auto of = [&](std::size_t begin, std::size_t end) { return crc32c(bytes_of(text.substr(begin, end - begin))); };
  for (const std::size_t cut : {0, 1, 7, 64, 1000, 4096, 4999, 5000}) {
    const auto rest = static_cast<std::int64_t>(text.size() - cut);
    EXPECT_EQ(crc32c_concat(of(0, cut), of(cut, text.size()), rest), of(0, text.size())) << cut;
  }
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
    EXPECT_THAT(error.what(), testing::HasSubstr("cannot create /no/such/folder/a.json: No such file or directory"));
  }
}

TEST(WriteFile, LeavesNothingAsideWhenItCannot) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "a.json");
  EXPECT_THAT([&] { write_file(folder.path() / "a.json", "x"); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("Is a directory")));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(WriteAside, LeavesTheOldFileAndNothingElseWhateverIsThrown) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "a.json";
  write_file(path, "old");
  const auto fails = [](const std::filesystem::path& aside) {
    write_file(aside, "half");
    throw std::bad_alloc();
  };
  EXPECT_THROW(write_aside(path, fails), std::bad_alloc);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

// If two programs write to the same name, the file is one of theirs, whole.
TEST(WriteFile, DoesNotMixTwoThatWriteAtOnce) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "a.json";
  const std::array contents = {std::string(3'000'000, 'a'), std::string(1'000'000, 'b')};
  for (int round = 0; round < 10; ++round) {
    std::jthread other([&] { write_file(path, contents[1]); });
    write_file(path, contents[0]);
    other.join();
    EXPECT_THAT(contents, testing::Contains(read_file(path)));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(CheckCanWrite, SaysWhyNotAndLeavesNothing) {
  const test::TemporaryFolder folder;
  EXPECT_NO_THROW(check_can_write(folder.path() / "new.json"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  write_file(folder.path() / "old.json", "old");
  EXPECT_NO_THROW(check_can_write(folder.path() / "old.json"));
  EXPECT_EQ(read_file(folder.path() / "old.json"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  const auto refused = [](const std::filesystem::path& path, const std::string& why) {
    EXPECT_THAT([&] { check_can_write(path); }, testing::ThrowsMessage<Error>(testing::AllOf(
                                                    testing::HasSubstr(path.string()), testing::HasSubstr(why))));
  };
  refused(folder.path(), "it is a folder or a device");
  refused("/dev/null", "it is a folder or a device");
  refused(folder.path() / "no" / "a.json", "No such file or directory");
  refused(folder.path() / "old.json" / "a.json", "Not a directory");
  refused("/proc/a.json", "No such file or directory");
}

TEST(ReadFile, StopsAtTheMostThatItMayRead) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "a";
  write_file(path, "12345");
  EXPECT_EQ(read_file(path, 5), "12345");
  EXPECT_THAT([&] { read_file(path, 4); },
              testing::ThrowsMessage<Error>(testing::HasSubstr(path.string() + " is longer than 4 bytes")));
  EXPECT_THAT([] { read_file("/dev/zero", 1 << 20); }, testing::ThrowsMessage<Error>(testing::HasSubstr("is longer")));
}

TEST(ReadFile, NamesThePathAndTheReasonWhenItCannot) {
  const test::TemporaryFolder folder;  // opens, but is not a file
  EXPECT_THAT([&] { read_file(folder.path()); },
              testing::ThrowsMessage<Error>(testing::HasSubstr(folder.path().string() + ": Is a directory")));
}

}  // namespace
}  // namespace pixelbert
