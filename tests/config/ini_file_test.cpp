#include "config/ini_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::config {
namespace {

using testing::HasSubstr;

class IniFileTest : public testing::Test {
 protected:
  std::vector<std::string> lines_of(const std::string& content) {
    write_file(path_, content);
    std::vector<std::string> lines;
    for (const IniValue& value : read_ini(path_)) {
      lines.push_back(fmt::format("{}: {}={}", value.line, value.name, value.value));
    }
    return lines;
  }

  std::string message_of(const std::filesystem::path& path) {
    try {
      read_ini(path);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }

  std::string message_of_content(const std::string& content) {
    write_file(path_, content);
    return message_of(path_);
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "a.ini";
};

TEST_F(IniFileTest, HasSectionsKeysAndComments) {
  EXPECT_EQ(lines_of("# first\n a=1 \n\n[ model ] # here\nb = 2 # two\n\tc =\nd == x [y]\n[x.y]\nb=\"\"\n"),
            (std::vector<std::string>{"2: a=1", "5: model.b=2", "6: model.c=", "7: model.d== x [y]", "9: x.y.b="}));
  EXPECT_TRUE(lines_of("").empty());
  EXPECT_TRUE(lines_of("\n \n#").empty());
}

TEST_F(IniFileTest, ReadsFilesOfOtherSystems) {
  EXPECT_EQ(lines_of("\xEF\xBB\xBF[m]\r\na = 1\r\nb = \"2 \"\r\nc = 3"),
            (std::vector<std::string>{"2: m.a=1", "3: m.b=2 ", "4: m.c=3"}));
}

TEST_F(IniFileTest, TakesAQuotedValueAsItStands) {
  EXPECT_EQ(lines_of(R"(a = " # b " # comment
b = "\"x\" \\ \n = [y]"
c = x "y"
)"),
            (std::vector<std::string>{"1: a= # b ", R"(2: b="x" \ \n = [y])", "3: c=x \"y\""}));
}

TEST_F(IniFileTest, NamesTheLineThatItCannotRead) {
  const std::vector<std::pair<const char*, const char*>> wrong = {
      {"[model", "line 2: expected a section"},
      {"[]", "line 2: expected a section"},
      {"[ ]", "line 2: expected a section"},
      {"[a] = b", "line 2: expected a section"},
      {"word", "line 2: expected '[section]'"},
      {"a # = 3", "line 2: expected '[section]'"},
      {"a = \"x", "line 2: expected a value that ends"},
      {"a = \"x\" y", "line 2: expected a value that ends"},
      {"a = \"x\\\"", "line 2: expected a value that ends"},
      {"i\rnit = x", "line 2: expected a name without control characters, found 'i?nit"},
      {"[a\x1B]", "line 2: expected a name without control characters, found '[a?]'"}};
  for (const auto& [line, expected] : wrong) {
    EXPECT_THAT(message_of_content(fmt::format("\n{}\nb = 1\n", line)), HasSubstr(fmt::format("a.ini, {}", expected)));
  }
  EXPECT_THAT(message_of_content(std::string("a = 1\nb = \0", 11)), HasSubstr("line 2: expected text in UTF-8"));
  EXPECT_THAT(message_of_content(std::string(1000, 'x') + "= 3"), HasSubstr("xxx...'"));
  EXPECT_THAT(message_of_content("\x1B[31m"), HasSubstr("found '?[31m'"));  // no escape sequences for a terminal
}

TEST_F(IniFileTest, SaysWhatCannotBeAConfiguration) {
  EXPECT_THAT(message_of(folder_.path()), HasSubstr("expected a file, found a folder"));
  EXPECT_THAT(message_of(folder_.path() / "none.ini"), HasSubstr("none.ini: cannot open the file: No such file"));
  EXPECT_THAT(message_of("/dev/zero"), HasSubstr("more than 1 MiB"));
  ASSERT_EQ(::mkfifo((folder_.path() / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(message_of(folder_.path() / "pipe"), HasSubstr("found a pipe"));
  write_file(path_, "");
  std::filesystem::resize_file(path_, std::uintmax_t{1} << 40);  // a sparse terabyte
  EXPECT_THAT(message_of(path_), HasSubstr("more than 1 MiB"));
  EXPECT_TRUE(read_ini("/dev/null").empty());
}

TEST(IniText, IsQuotedOnlyWhereItHasToBe) {
  for (const char* text : {"", "a", "a b", "a = b", "[a]", "a\"b", "\\", "a\\", "'a'", "; a", "\xFF"}) {
    EXPECT_EQ(ini_text(text), text);
  }
  EXPECT_EQ(ini_text(" a"), "\" a\"");
  EXPECT_EQ(ini_text("a#b"), "\"a#b\"");
  EXPECT_EQ(ini_text("\"a\\"), R"("\"a\\")");
}

}  // namespace
}  // namespace pixelbert::config
