#include "sources/json_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/check.h"
#include "core/json_text.h"
#include "core/text_lines.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

constexpr double kExact =
    9007199254740992;  // 2^53: whole numbers below it are doubles, and nothing else rounds to them

std::optional<std::int64_t> whole(double number) {
  if (std::trunc(number) != number || std::abs(number) >= kExact) return {};
  return static_cast<std::int64_t>(number);
}

template <class Number>
std::optional<Number> number_in(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

std::optional<std::int64_t> id_of(const json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    return std::in_range<std::int64_t>(number) ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt;
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) return whole(value.get<double>());
  if (!value.is_string()) return {};
  const auto& text = value.get_ref<const std::string&>();
  if (const auto number = number_in<std::int64_t>(text)) return number;
  const auto number = number_in<double>(text);
  return number ? whole(*number) : std::nullopt;
}

const json& at(const json& object, const char* field, const char* kind) {
  const auto found = object.find(field);
  if (found != object.end()) return *found;
  std::vector<std::string> names;
  for (const auto& [name, value] : object.items()) names.push_back(described(name));
  constexpr std::size_t kShown = 8;
  const bool more = names.size() > kShown;
  if (more) names.resize(kShown);
  fail(fmt::format("expected \"{}\" ({}), found {}{}", field, kind,
                   names.empty() ? "no fields" : fmt::format("only {}", fmt::join(names, ", ")), more ? ", ..." : ""));
}

}  // namespace

std::string described(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_number_float() && value.get<double>() == kNotFinite) return "NaN or an infinite number";
  return one_line(json_text(value), 80);
}

std::int64_t to_id(const json& value, const std::string& name) {
  const std::optional<std::int64_t> id = id_of(value);
  PB_CHECK(id, "\"{}\": expected an id (a 64-bit integer), found {}", name, described(value));
  return *id;
}

const std::string& to_text(const json& value, const std::string& name) {
  PB_CHECK(value.is_string(), "\"{}\": expected a string, found {}", name, described(value));
  return value.get_ref<const std::string&>();
}

std::int64_t id_at(const json& object, const char* field) {
  return to_id(at(object, field, "an id"), field);
}

const std::string& string_at(const json& object, const char* field) {
  return to_text(at(object, field, "a string"), field);
}

bool has(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && !found->is_null();
}

void for_each_in(const json& object, const char* field, const std::function<void(const json&)>& visit) {
  const json& list = at(object, field, "a list");
  PB_CHECK(list.is_array(), "\"{}\": expected a list, found {}", field, described(list));
  for (std::size_t i = 0; i < list.size(); ++i) {
    try {
      PB_CHECK(list[i].is_object(), "expected an object, found {}", described(list[i]));
      visit(list[i]);
    } catch (const Error& error) {
      throw Error(fmt::format("{}[{}]: {}", field, i, error.what()));
    }
  }
}

}  // namespace pixelbert::sources
