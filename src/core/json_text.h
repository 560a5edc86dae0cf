// JSON is UTF-8; paths and the messages of libraries may hold any bytes, and files anything at all.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "core/check.h"

namespace pixelbert {

// Like nlohmann's dump(), but writes U+FFFD where dump() throws.
template <class Json>
std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// Limit on nested lists and objects. nlohmann's dump() and copies recurse, so depth costs stack.
inline constexpr int kMaxJsonDepth = 64;

// Returns a message of nlohmann's without its prefix, in one line: "line 1, column 9: invalid literal; ...".
std::string json_reason(std::string_view message);

// Parses `text`, skipping a byte order mark. Throws Error beginning with `where` and naming the line if it is not JSON
// or is nested deeper than kMaxJsonDepth.
template <class Json>
Json parse_json(std::string_view text, const std::string& where) {
  const auto check_depth = [&where](int depth, auto /*event*/, const Json& /*parsed*/) {
    PB_CHECK(depth < kMaxJsonDepth, "{}: its JSON is more than {} levels deep", where, kMaxJsonDepth);
    return true;
  };
  try {
    return Json::parse(text, check_depth);
  } catch (const typename Json::exception& error) {
    fail(fmt::format("{} is not JSON: {}", where, json_reason(error.what())));
  }
}

// Returns the member `name` of an object. Throws Error beginning with `where` and naming the member if it is missing or
// `object` is not an object.
template <class Json>
const Json& json_member(const Json& object, const char* name, const std::string& where) {
  PB_CHECK(object.is_object(), "{} is not a JSON object", where);
  const auto found = object.find(name);
  PB_CHECK(found != object.end(), "{} has no '{}'", where, name);
  return *found;
}

// Returns the member as a whole number from `least` to `most`; 1.0 and "1" are refused.
template <class Json>
std::int64_t json_integer(const Json& object, const char* name, const std::string& where, std::int64_t least = 0,
                          std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
  const Json& value = json_member(object, name, where);
  const bool fits =
      value.is_number_unsigned()
          ? value.template get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
          : value.is_number_integer();
  PB_CHECK(fits && value.template get<std::int64_t>() >= least && value.template get<std::int64_t>() <= most,
           "{}: '{}' is {:.100}, expected a whole number from {}{}", where, name, json_text(value), least,
           most == std::numeric_limits<std::int64_t>::max() ? "" : fmt::format(" to {}", most));
  return value.template get<std::int64_t>();
}

}  // namespace pixelbert
