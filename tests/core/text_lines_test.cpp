#include "core/text_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pixelbert {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Lines, EndAsOnAnySystem) {
  EXPECT_THAT(lines_of("yes\nno\n"), ElementsAre("yes", "no"));
  EXPECT_THAT(lines_of("yes\r\nno"), ElementsAre("yes", "no"));
  EXPECT_THAT(lines_of("\n\nx\n\n"), ElementsAre("", "", "x", ""));
  EXPECT_THAT(lines_of(""), IsEmpty());
}

TEST(Lines, BeginBehindAByteOrderMark) {
  EXPECT_THAT(lines_of("\xEF\xBB\xBFyes\r\nno\r\n"), ElementsAre("yes", "no"));
  EXPECT_THAT(lines_of("\xEF\xBB\xBF"), IsEmpty());
  EXPECT_THAT(lines_of("\xEF\xBB"), ElementsAre("\xEF\xBB"));
}

TEST(OneLine, HasNoControlCharactersAndIsCutBetweenCharacters) {
  EXPECT_EQ(one_line("a\nb\x7F", 10), "a?b?");
  EXPECT_EQ(one_line("日日日", 4), "日...");
}

}  // namespace
}  // namespace pixelbert
