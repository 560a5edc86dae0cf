#include "core/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pixelbert {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

TEST(ParseJson, ReadsJsonWithAndWithoutAByteOrderMark) {
  const json expected = {{"a", {1, 2}}};
  EXPECT_EQ(parse_json<json>(R"({"a": [1, 2]})", "x"), expected);
  EXPECT_EQ(parse_json<json>("\xef\xbb\xbf{\"a\": [1, 2]}", "x"), expected);
}

TEST(ParseJson, SaysInOneLineWhereItIsNone) {
  const auto refused = [](const std::string& text, const std::string& message) {
    EXPECT_THAT([&] { parse_json<json>(text, "a.json"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("a.json is not JSON: " + message), Not(HasSubstr("\n")),
                                           Not(HasSubstr("exception")))));
  };
  refused("", "line 1, column 1");
  refused("{\n \"a\": nonsense", "line 2, column 8");
  refused("{\"a\": \"x\ny\"}", "line 2, column 0");
  refused("[1e999]", "number overflow");
  refused("\"\xff\"", "line 1, column 2");
  refused("\"" + std::string(1'000'000, 'x'), "line 1");
  EXPECT_LT(json_reason("[json.exception.parse_error.101] " + std::string(1000, 'x')).size(), 300u);
}

TEST(ParseJson, RefusesWhatIsNestedDeep) {
  const auto nested = [](int levels) {
    const auto count = static_cast<std::size_t>(levels);
    return std::string(count, '[') + std::string(count, ']');
  };
  EXPECT_NO_THROW(parse_json<json>(nested(kMaxJsonDepth), "x"));
  for (const int levels : {kMaxJsonDepth + 1, 1'000'000}) {
    EXPECT_THAT([&] { parse_json<json>(nested(levels), "a.json"); },
                ThrowsMessage<Error>(HasSubstr("a.json: its JSON is more than 64 levels deep")));
  }
}

TEST(JsonInteger, TakesWholeNumbersWithinBounds) {
  const json object = json::parse(R"({"one": 1, "minus": -1, "half": 1.5, "whole": 1.0, "text": "1", "yes": true,
                                      "large": 9223372036854775807, "larger": 9223372036854775808})");
  EXPECT_EQ(json_integer(object, "one", "x"), 1);
  EXPECT_EQ(json_integer(object, "minus", "x", -1), -1);
  EXPECT_EQ(json_integer(object, "large", "x"), 9223372036854775807);
  for (const char* name : {"minus", "half", "whole", "text", "yes", "larger"}) {
    EXPECT_THAT([&] { json_integer(object, name, "a.json"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("a.json: '" + std::string(name) + "' is "),
                                           HasSubstr("expected a whole number from 0"))));
  }
  EXPECT_THAT([&] { json_integer(object, "large", "x", 0, 5); }, ThrowsMessage<Error>(HasSubstr("from 0 to 5")));
  EXPECT_THAT([&] { json_integer(object, "two", "x"); }, ThrowsMessage<Error>(HasSubstr("x has no 'two'")));
  EXPECT_THAT([] { json_integer(json::array(), "two", "x"); },
              ThrowsMessage<Error>(HasSubstr("x is not a JSON object")));
}

}  // namespace
}  // namespace pixelbert
