#include "checkpoint/range_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "core/check.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::checkpoint {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::span<const std::byte> part(const std::string& text, std::size_t begin, std::size_t end) {
  return std::as_bytes(std::span(text)).subspan(begin, end - begin);
}

// Two writers, whose pieces alternate and begin and end anywhere, also within one block of the disk.
TEST(RangeFile, KeepsEveryByteOfTwoWriters) {
  const test::TemporaryFolder folder;
  std::mt19937 random(1);
  for (const std::size_t size : {1, 4095, 4097, 100'000, 7'000'001}) {
    std::string content(size, '\0');
    for (char& c : content) c = static_cast<char>(random());
    const auto path = folder.path() / std::to_string(size);
    create_file(path, std::ssize(content));
    RangeFile writers[] = {RangeFile(path), RangeFile(path)};
    for (std::size_t begin = 0; begin < size;) {
      const std::size_t most = begin % 3 == 0 ? 5000 : size / 2 + 1;
      const std::size_t end = std::min(size, begin + 1 + random() % most);
      writers[random() % 2].write(static_cast<std::int64_t>(begin), part(content, begin, end));
      begin = end;
    }
    std::vector<WrittenRange> ranges = writers[0].finish();
    for (const WrittenRange& range : writers[1].finish()) ranges.push_back(range);
    EXPECT_EQ(read_file(path), content) << size;
    const Digest whole = {.bytes = std::ssize(content), .crc32c = crc32c(std::as_bytes(std::span(content)))};
    EXPECT_EQ(digest_of_ranges(ranges, std::ssize(content)), whole) << size;
  }
}

TEST(RangeFile, RefusesRangesThatAreNotTheFile) {
  const auto range = [](std::int64_t begin, std::int64_t bytes) {
    return WrittenRange{.begin = begin, .digest = {.bytes = bytes, .crc32c = 0}};
  };
  EXPECT_THAT([&] { digest_of_ranges({range(0, 5), range(6, 4)}, 10); },
              ThrowsMessage<Error>(HasSubstr("expected the next range of a file at byte 5, found one at 6")));
  EXPECT_THAT([&] { digest_of_ranges({range(0, 5), range(0, 5)}, 10); }, ThrowsMessage<Error>(HasSubstr("at byte 5")));
  EXPECT_THAT([&] { digest_of_ranges({range(0, 5)}, 10); },
              ThrowsMessage<Error>(HasSubstr("expected 10 bytes of a file, found ranges of 5")));
}

TEST(RangeFile, NeedsAFileThatWasMadeForIt) {
  const test::TemporaryFolder folder;
  EXPECT_THAT([&] { RangeFile(folder.path() / "none"); }, ThrowsMessage<Error>(HasSubstr("cannot write")));
  create_file(folder.path() / "there", 3);
  EXPECT_THAT([&] { create_file(folder.path() / "there", 3); }, ThrowsMessage<Error>(HasSubstr("File exists")));
  EXPECT_THAT([&] { create_file(folder.path() / "large", std::int64_t{1} << 60); },
              ThrowsMessage<Error>(HasSubstr("large")));
}

}  // namespace
}  // namespace pixelbert::checkpoint
