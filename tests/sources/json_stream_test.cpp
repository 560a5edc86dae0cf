#include "sources/json_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Repaired {
  std::string text;
  std::int64_t replaced;
};

Repaired repaired(std::string_view text, std::size_t piece) {
  Utf8Repair repair;
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += piece) repair.append(text.substr(at, piece), out);
  repair.finish(out);
  return {out, repair.replaced()};
}

TEST(Utf8Repair, ReplacesEachMaximalPartWhereverTheTextIsCut) {
  const std::string r = "\xEF\xBF\xBD";  // U+FFFD
  const struct {
    std::string text, expected;
    std::int64_t replaced;
  } cases[] = {
      {"", "", 0},
      {"plain", "plain", 0},
      {"Bär 日本 \U0001F600", "Bär 日本 \U0001F600", 0},
      {r, r, 0},                  // is valid itself
      {"caf\xE9", "caf" + r, 1},  // Latin-1
      {"\xE9t\xE9", r + "t" + r, 2},
      {"\x80\xBF", r + r, 2},                  // continuations without a lead
      {"\xC0\xAF", r + r, 2},                  // overlong
      {"\xE0\x80\xAF", r + r + r, 3},          // overlong
      {"\xED\xA0\x80", r + r + r, 3},          // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r, 4},  // past U+10FFFF
      {"\xF5\xFF", r + r, 2},
      {"\xE6\x97", r, 1},  // cut: one for the part
      {"\xE6\x97!", r + "!", 1},
      {"\xF0\x9F\x98", r, 1},
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", r + "\U0001F600", 1},
      // The example of the Unicode standard, table 3-8.
      {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", "a" + r + r + r + "b" + r + "c" + r + r + "d", 6},
  };
  for (const auto& [text, expected, replaced] : cases) {
    for (std::size_t piece = 1; piece <= text.size() + 1; ++piece) {
      const Repaired result = repaired(text, piece);
      EXPECT_EQ(result.text, expected) << piece;
      EXPECT_EQ(result.replaced, replaced) << piece;
    }
  }
}

class ForEachObject : public ::testing::Test {
 protected:
  std::int64_t visit(const std::string& content) {
    write_file(folder_.path() / "file.json", content);
    seen_.clear();
    return for_each_object(folder_.path() / "file.json", [&](std::string_view list, const json& object) {
      seen_.push_back(fmt::format("{}:{}", list, object.at("id").get<int>()));
    });
  }

  test::TemporaryFolder folder_;
  std::vector<std::string> seen_;
};

TEST_F(ForEachObject, VisitsTheListsOfAnObject) {
  visit(R"({"info": {"id": 1, "x": {"id": 2}}, "images": [{"id": 3, "deep": [{"id": 4}]}, {"id": 5}], "n": [1, 2],
            "annotations": [{"id": 6}]})");
  EXPECT_THAT(seen_, ElementsAre("images:3", "images:5", "annotations:6"));
}

TEST_F(ForEachObject, VisitsAListWithoutAName) {
  visit(R"([{"id": 1, "regions": [{"id": 2}]}, {"id": 3}])");
  EXPECT_THAT(seen_, ElementsAre(":1", ":3"));
  visit("[]");
  EXPECT_THAT(seen_, ElementsAre());
}

TEST_F(ForEachObject, VisitsFilesLargerThanItsBuffer) {
  std::string content = "[";
  for (int i = 0; i < 30'000; ++i) {
    content +=
        fmt::format(R"({}{{"id": {}, "phrase": "Ein Bär läuft über die Straße bei Grün."}})", i == 0 ? "" : ",", i);
  }
  EXPECT_EQ(visit(content + "]"), 0);
  ASSERT_EQ(seen_.size(), 30'000u);
  EXPECT_EQ(seen_.back(), ":29999");
}

TEST_F(ForEachObject, GivesWhatStandsBesideTheLists) {
  write_file(folder_.path() / "file.json", R"({"type": "mscoco", "info": {"type": "no"}, "n": ["no", 3], "year": 2014,
                                               "list": [{"type": "no"}], "subtype": "train2014"})");
  std::vector<std::string> fields;
  for_each_object(
      folder_.path() / "file.json", [](std::string_view, const json&) {},
      [&](std::string_view name, const json& value) { fields.push_back(fmt::format("{}={}", name, value.dump())); });
  EXPECT_THAT(fields, ElementsAre("type=\"mscoco\"", "year=2014", "subtype=\"train2014\""));
}

TEST_F(ForEachObject, RepairsInvalidUtf8) {
  EXPECT_EQ(visit("[{\"id\": 1, \"phrase\": \"caf\xE9 \xFF\"}]"), 2);
}

TEST_F(ForEachObject, SaysWhereAFileIsWrong) {
  EXPECT_THAT([&] { visit(R"([{"id": 1}, {"id": )"); },
              ThrowsMessage<Error>(::testing::AllOf(HasSubstr("file.json is not valid JSON (object 1, byte 20)"))));
  EXPECT_THAT([&] { visit(""); }, ThrowsMessage<Error>(HasSubstr("is not valid JSON")));
  EXPECT_THAT([&] { visit("7"); }, ThrowsMessage<Error>(HasSubstr("expected a JSON list or object")));
  EXPECT_THAT([&] { visit(R"({"images": [{"id": 1}, {"no": 1}]})"); },
              ThrowsMessage<Error>(HasSubstr("object 1 of the file (in \"images\") is not what was expected")));
  EXPECT_THAT([&] { visit(R"([{"id": "one"}])"); }, ThrowsMessage<Error>(HasSubstr("must be number")));
  EXPECT_THAT([&] { for_each_object(folder_.path() / "none.json", {}); },
              ThrowsMessage<Error>(HasSubstr("No such file")));
}

TEST(ForEachLine, VisitsEachLineThatIsNotBlank) {
  const test::TemporaryFolder folder;
  write_file(folder.path() / "file.json", "{\"id\": 1}\r\n\n  \n{\"id\": 2, \"s\": \"caf\xE9\"}\n{\"id\": 3}");
  std::vector<int> seen;
  EXPECT_EQ(for_each_line(folder.path() / "file.json", [&](const json& line) { seen.push_back(line.at("id")); }), 1);
  EXPECT_THAT(seen, ElementsAre(1, 2, 3));
}

TEST(ForEachLine, NamesTheFileAndTheLineThatIsWrong) {
  const test::TemporaryFolder folder;
  const auto visit = [&](const std::string& content) {
    write_file(folder.path() / "file.json", content);
    for_each_line(folder.path() / "file.json",
                  [](const json& line) { PB_CHECK(line.at("id").get<int>() > 0, "expected an id above 0"); });
  };
  EXPECT_THAT([&] { visit("{\"id\": 1}\n\n{\"id\": "); },
              ThrowsMessage<Error>(HasSubstr("file.json, line 3, is not valid JSON: ")));
  EXPECT_THAT([&] { visit("{\"id\": 1}\n{\"no\": 1}"); },
              ThrowsMessage<Error>(HasSubstr("file.json, line 2, is not what was expected: ")));
  EXPECT_THAT([&] { visit("{\"id\": 0}"); },
              ThrowsMessage<Error>(HasSubstr("file.json, line 1: expected an id above 0")));
}

}  // namespace
}  // namespace pixelbert::sources
