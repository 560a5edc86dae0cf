#include "sources/json_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/check.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::int64_t id(const std::string& value) {
  return id_at(json::parse("{\"id\": " + value + "}"), "id");
}

TEST(Ids, AreWholeNumbersOf64Bits) {
  for (const auto& [text, expected] :
       std::vector<std::pair<std::string, std::int64_t>>{{"0", 0},
                                                         {"-1", -1},
                                                         {"42.0", 42},
                                                         {"-42.0", -42},
                                                         {"1e3", 1000},
                                                         {"-0.0", 0},
                                                         {"9223372036854775807", INT64_MAX},
                                                         {"-9223372036854775808", INT64_MIN},
                                                         {"9007199254740993", 9007199254740993},
                                                         {"9007199254740991.0", 9007199254740991},
                                                         {"\"42\"", 42},
                                                         {"\"000000391895\"", 391895},
                                                         {"\"-7\"", -7},
                                                         {"\"42.0\"", 42},
                                                         {"\"9223372036854775807\"", INT64_MAX}}) {
    EXPECT_EQ(id(text), expected) << text;
  }
}

TEST(Ids, ThatCouldBeAnothersAreRefused) {
  for (const char* text : {"1.2",
                           "1e300",
                           "100000000000000000000",
                           "9223372036854775808",
                           "-9223372036854775809",
                           "9007199254740992.0",
                           "1.7976931348623157e308",
                           "null",
                           "true",
                           "[1]",
                           "{\"id\": 1}",
                           "\"\"",
                           "\"x\"",
                           "\" 42\"",
                           "\"42x\"",
                           "\"1.2\"",
                           "\"9223372036854775808\"",
                           "\"NaN\"",
                           "\"inf\"",
                           "\"0x10\""}) {
    EXPECT_THAT([&] { id(text); }, ThrowsMessage<Error>(HasSubstr("\"id\": expected an id (a 64-bit integer), found ")))
        << text;
  }
}

TEST(Fields, SayWhatWasFound) {
  const auto found = [](const std::string& value) { return described(json::parse(value)); };
  EXPECT_EQ(found("1.2"), "1.2");
  EXPECT_EQ(found("null"), "null");
  EXPECT_EQ(found("\"a\\nb\""), "\"a\\nb\"");
  EXPECT_EQ(found("[[1], 2]"), "a list");
  EXPECT_EQ(found("{}"), "an object");
  EXPECT_EQ(described(json(kNotFinite)), "NaN or an infinite number");
  EXPECT_EQ(described(json(std::string(200, 'x'))), "\"" + std::string(79, 'x') + "...");
  EXPECT_EQ(described(json("x" + std::string(200, '\xE9'))).substr(0, 5), "\"x\xEF\xBF\xBD");
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "日";
  EXPECT_NO_THROW(json(described(json(wide))).dump());  // not cut within a character

  const json object = json::parse(R"({"text": 1, "list": [{"x": "a"}, {"x": "b"}, 3, {}], "not": {}, "none": null})");
  EXPECT_THAT([&] { string_at(object, "text"); },
              ThrowsMessage<Error>(HasSubstr("\"text\": expected a string, found 1")));
  EXPECT_THAT([&] { string_at(object, "title"); },
              ThrowsMessage<Error>(
                  HasSubstr("expected \"title\" (a string), found only \"list\", \"none\", \"not\", \"text\"")));
  EXPECT_THAT([&] { string_at(json::object(), "title"); },
              ThrowsMessage<Error>(HasSubstr("expected \"title\" (a string), found no fields")));
  EXPECT_TRUE(has(object, "text"));
  EXPECT_FALSE(has(object, "none"));
  EXPECT_FALSE(has(object, "title"));

  std::vector<std::string> seen;
  const auto visit = [&](const json& element) { seen.push_back(string_at(element, "x")); };
  EXPECT_THAT([&] { for_each_in(object, "list", visit); },
              ThrowsMessage<Error>(HasSubstr("list[2]: expected an object, found 3")));
  EXPECT_THAT(seen, ElementsAre("a", "b"));
  EXPECT_THAT([&] { for_each_in(object, "not", visit); },
              ThrowsMessage<Error>(HasSubstr("\"not\": expected a list, found an object")));
  EXPECT_THAT([&] { for_each_in(object, "no", visit); }, ThrowsMessage<Error>(HasSubstr("expected \"no\" (a list)")));
}

}  // namespace
}  // namespace pixelbert::sources
