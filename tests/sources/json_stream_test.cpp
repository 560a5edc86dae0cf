#include "sources/json_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "sources/json_fields.h"
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

std::string grammatical(std::string_view text, std::size_t piece, std::int64_t* replaced = nullptr) {
  JsonRepair repair;
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += piece) repair.append(text.substr(at, piece), out);
  repair.finish(out);
  if (replaced != nullptr) *replaced = repair.replaced();
  return out;
}

TEST(JsonRepair, ReplacesHalvesOfSurrogatePairsWhereverTheTextIsCut) {
  const std::string r = "\xEF\xBF\xBD";  // U+FFFD
  const struct {
    std::string text, expected;
    std::int64_t replaced;
  } cases[] = {
      {R"("a cat \ud83d!")", "\"a cat " + r + "!\"", 1},
      {R"("\ud83d\ude00")", R"("\ud83d\ude00")", 0},  // a pair
      {R"("\uD83D\uDE00")", R"("\uD83D\uDE00")", 0},
      {R"("\ude00\ud83d")", "\"" + r + r + "\"", 2},  // the wrong way round
      {R"("\ud83d\ud83d\ude00")", "\"" + r + R"(\ud83d\ude00")", 1},
      {R"("\ud83d\u0041\ud83d\n")", "\"" + r + R"(\u0041)" + r + R"(\n")", 2},
      {R"("\\ud83d")", R"("\\ud83d")", 0},  // a backslash and letters
      {R"("\"\ud83d")", R"("\")" + r + "\"", 1},
      {R"("\\\ud83d")", R"("\\)" + r + "\"", 1},
      {R"("\u00e9\n\ud7ff\ue000")", R"("\u00e9\n\ud7ff\ue000")", 0},
      {R"("\ud83")", R"("\ud83")", 0},  // left to the parser
      {R"("\uzzzz\u-123\)", R"("\uzzzz\u-123\)", 0},
  };
  for (const auto& [text, expected, replaced] : cases) {
    for (std::size_t piece = 1; piece <= text.size(); ++piece) {
      std::int64_t count = -1;
      EXPECT_EQ(grammatical(text, piece, &count), expected) << piece;
      EXPECT_EQ(count, replaced) << text << piece;
    }
  }
}

TEST(JsonRepair, ReplacesNumbersThatAreNotFiniteOutsideOfStrings) {
  const std::string n = fmt::format("{}", kNotFinite);
  const std::string long_whole(400, '9'), long_zero = "0." + std::string(400, '0');
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {R"({"a": NaN, "NaN": "NaN \" Infinity"})", R"({"a": )" + n + R"(, "NaN": "NaN \" Infinity"})"},
           {"[Infinity,-Infinity]", "[" + n + "," + n + "]"},
           {"NaN", n},
           {"[1e999, -1E+999, 1e-999, 1e308]", "[" + n + ", " + n + ", 1e-999, 1e308]"},
           {"[" + long_whole + "," + long_zero + "]", "[" + n + "," + long_zero + "]"},
           {"[true, null, nan, NaNs, 12, -0.5e3]", "[true, null, nan, NaNs, 12, -0.5e3]"},
           {"\"broken\nNaN", "\"broken\n" + n},  // a broken line does not affect the next one
       }) {
    for (std::size_t piece = 1; piece <= text.size(); ++piece) EXPECT_EQ(grammatical(text, piece), expected) << piece;
  }
}

class ForEachObject : public ::testing::Test {
 protected:
  // The lists with these names.
  std::int64_t visit(const std::string& content, const std::vector<std::string>& names) {
    write_file(folder_.path() / "file.json", content);
    seen_.clear();
    std::map<std::string, Visit> lists;
    for (const std::string& name : names) {
      lists[name] = [this, name](const json& object) {
        seen_.push_back(fmt::format("{}:{}", name, id_at(object, "id")));
      };
    }
    return for_each_object(folder_.path() / "file.json", lists);
  }

  void refused(const std::string& content, const std::vector<std::string>& names, const std::string& message) {
    EXPECT_THAT([&] { visit(content, names); }, ThrowsMessage<Error>(HasSubstr("file.json" + message))) << content;
  }

  test::TemporaryFolder folder_;
  std::vector<std::string> seen_;
};

TEST_F(ForEachObject, VisitsTheListsOfAnObject) {
  visit(R"({"info": {"id": 1, "x": {"id": 2}}, "images": [{"id": 3, "deep": [{"id": 4}]}, {"id": 5}], "n": [1, 2],
            "more": [{"id": 7}], "annotations": [{"id": 6}]})",
        {"images", "annotations"});
  EXPECT_THAT(seen_, ElementsAre("images:3", "images:5", "annotations:6"));
}

TEST_F(ForEachObject, VisitsAListWithoutAName) {
  visit(R"([{"id": 1, "regions": [{"id": 2}]}, {"id": 3}])", {""});
  EXPECT_THAT(seen_, ElementsAre(":1", ":3"));
  visit("[]", {""});
  EXPECT_THAT(seen_, ElementsAre());
}

TEST_F(ForEachObject, GivesObjectsWhole) {
  const json object = {{"id", 1}, {"list", {1, -2, 2.5, "x", nullptr, true, json::array(), {{"deep", {{"y", 1}}}}}}};
  write_file(folder_.path() / "file.json", json::array({object, object}).dump());
  std::vector<json> seen;
  for_each_object(folder_.path() / "file.json", {{"", [&](const json& one) { seen.push_back(one); }}});
  EXPECT_THAT(seen, ElementsAre(object, object));
}

TEST_F(ForEachObject, VisitsFilesLargerThanItsBuffer) {
  std::string content = "[";
  for (int i = 0; i < 30'000; ++i) {
    content +=
        fmt::format(R"({}{{"id": {}, "phrase": "Ein Bär läuft über die Straße bei Grün."}})", i == 0 ? "" : ",", i);
  }
  EXPECT_EQ(visit(content + "]", {""}), 0);
  ASSERT_EQ(seen_.size(), 30'000u);
  EXPECT_EQ(seen_.back(), ":29999");
}

TEST_F(ForEachObject, GivesWhatStandsBesideTheLists) {
  write_file(folder_.path() / "file.json", R"({"type": "mscoco", "info": {"type": "no"}, "n": ["no", 3], "year": 2014,
                                               "list": [{"type": "no"}], "subtype": "train2014"})");
  std::vector<std::string> fields;
  for_each_object(folder_.path() / "file.json", {{"list", [](const json&) {}}},
                  [&](const std::string& name, const json& value) { fields.push_back(name + "=" + value.dump()); });
  EXPECT_THAT(fields, ElementsAre("type=\"mscoco\"", "year=2014", "subtype=\"train2014\""));
}

TEST_F(ForEachObject, RepairsInvalidUtf8AndHalvesOfSurrogatePairs) {
  EXPECT_EQ(visit("[{\"id\": 1, \"phrase\": \"caf\xE9 \xFF\"}]", {""}), 2);
  EXPECT_EQ(visit(R"([{"id": 1, "phrase": "a cat \ud83d!"}, {"id": 2}])", {""}), 1);
  EXPECT_THAT(seen_, ElementsAre(":1", ":2"));
}

TEST_F(ForEachObject, SkipsAByteOrderMark) {
  visit("\xEF\xBB\xBF[{\"id\": 1}]", {""});
  EXPECT_THAT(seen_, ElementsAre(":1"));
}

TEST_F(ForEachObject, MindsNumbersThatAreNotFiniteOnlyWhereTheyAreUsed) {
  visit(R"({"x": NaN, "n": [Infinity], "list": [{"id": 1, "area": NaN, "b": [-Infinity, 1e999]}]})", {"list"});
  EXPECT_THAT(seen_, ElementsAre("list:1"));
  for (const char* number : {"NaN", "Infinity", "-Infinity", "1e999"}) {
    refused(fmt::format(R"([{{"id": 1}}, {{"id": {}}}])", number), {""},
            R"(, [1]: "id": expected an id (a 64-bit integer), found NaN or an infinite number)");
  }
}

TEST_F(ForEachObject, RefusesWhatIsNestedTooDeep) {
  const std::string open(100'000, '['), close(100'000, ']'), objects = [] {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += R"({"a":)";
    return text;
  }();
  refused(R"([{"id": 1}, {"id": 2, "x": )" + open + close + "}]", {""},
          ", [1]: lists and objects are nested more than");
  refused("[" + objects, {""}, ", [0]: lists and objects are nested more than");
  refused(R"({"info": )" + open + close + R"(, "list": []})", {"list"}, R"(: "info": lists and objects are nested)");
  refused(open + close, {"list"}, ": expected an object that holds lists, found a list");
}

TEST_F(ForEachObject, SaysWhereAFileIsWrong) {
  refused(R"([{"id": 1}, {"id": )", {""}, ", [1]: is not valid JSON: parse error at line 1, column 20: ");
  refused(R"({"list": [{"id": 1}, {"id": 2}], "x" 3})", {"list"}, ": is not valid JSON: parse error at line 1, column");
  refused("", {""}, ": is not valid JSON: parse error at line 1, column 1: ");
  refused("[] []", {""}, ": is not valid JSON: parse error at line 1, column 4: ");
  refused("7", {""}, ": expected a list or an object, found 7");
  refused("{}", {""}, ": expected a list of objects, found an object");
  refused("[]", {"images"}, ": expected an object that holds lists, found a list");
  refused(R"({"annotations": []})", {"annotations", "images"}, " has no list \"images\": is it the right file?");
  refused(R"({"images": [], "images": []})", {"images"}, ": has the list \"images\" twice");
  refused(R"({"images": {"1": {"id": 1}}})", {"images"}, ": \"images\": expected a list, found an object");
  refused(R"({"images": null})", {"images"}, ": \"images\": expected a list, found null");
  refused(R"({"images": [{"id": 1}, 2]})", {"images"}, ", images[1]: expected an object, found 2");
  refused(R"({"images": [[{"id": 1}]]})", {"images"}, ", images[0]: expected an object, found a list");
  refused(R"({"images": [{"id": 1}, {"no": 1, "x": 2}]})", {"images"},
          R"(, images[1]: expected "id" (an id), found only "no", "x")");
  refused(R"([{"id": "one"}])", {""}, R"(, [0]: "id": expected an id (a 64-bit integer), found "one")");
  EXPECT_THAT([&] { for_each_object(folder_.path() / "none.json", {}); },
              ThrowsMessage<Error>(HasSubstr("No such file")));
  EXPECT_THAT([&] { for_each_object(folder_.path(), {}); },
              ThrowsMessage<Error>(HasSubstr(folder_.path().string() + ": cannot be read: Is a directory")));
}

TEST_F(ForEachObject, SaysItInOneShortLine) {
  try {
    visit(R"([{"id": ")" + std::string(5'000'000, 'x') + "\n", {""});
    ADD_FAILURE();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_LT(message.size(), 600U);
    EXPECT_EQ(message.find('\n'), message.npos);
  }
  try {
    visit(json::array({{{"id", std::string(5'000, '\n')}}}).dump(), {""});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 600U);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

TEST(ForEachLine, VisitsEachLineThatIsNotBlank) {
  const test::TemporaryFolder folder;
  const std::string mark = "\xEF\xBB\xBF";
  write_file(folder.path() / "file.json", mark + "\n" + mark + "{\"id\": 1}\r\n\n  \n{\"id\": 2, \"s\": \"caf\xE9\", " +
                                              "\"t\": \"\\ud83d\", \"u\": NaN}\n{\"id\": 3}");
  std::vector<std::int64_t> seen;
  EXPECT_EQ(for_each_line(folder.path() / "file.json", [&](const json& line) { seen.push_back(id_at(line, "id")); }),
            2);
  EXPECT_THAT(seen, ElementsAre(1, 2, 3));
}

TEST(ForEachLine, NamesTheFileAndTheLineThatIsWrong) {
  const test::TemporaryFolder folder;
  const auto refused = [&](const std::string& content, const std::string& message) {
    write_file(folder.path() / "file.json", content);
    const auto visit = [](const json& line) { PB_CHECK(id_at(line, "id") > 0, "expected an id above 0"); };
    EXPECT_THAT([&] { for_each_line(folder.path() / "file.json", visit); },
                ThrowsMessage<Error>(HasSubstr("file.json" + message)));
  };
  refused("{\"id\": 1}\n\n{\"id\": ", ", line 3: is not valid JSON: parse error at line 1, column 8: ");
  refused("{\"id\": 1}\n{\"no\": 1}", ", line 2: expected \"id\" (an id), found only \"no\"");
  refused("{\"id\": 0}", ", line 1: expected an id above 0");
  refused("{\"id\": 1}\n[{\"id\": 1}]", ", line 2: expected an object, found a list");
  refused("{\"id\": 1}\n7", ", line 2: expected an object, found 7");
  refused("{\"id\": 1, \"x\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}",
          ", line 1: lists and objects are nested more than 200 deep");
  refused("", ": expected an object on each line (JSON Lines), found no line");
  EXPECT_THAT([&] { for_each_line(folder.path(), [](const json&) {}); },
              ThrowsMessage<Error>(HasSubstr("cannot be read: Is a directory")));
}

}  // namespace
}  // namespace pixelbert::sources
