// Parses a text about scenes and checks whether it is true, without the code that made the text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scenes/claims.h"
#include "scenes/world.h"

namespace pixelbert::scenes::test {

using Slots = std::map<char, std::int64_t>;  // 'c' -> index of the colour; upper case for a second object

inline std::span<const std::string_view> words_of(char slot) {
  switch (slot | 0x20) {
    case 'z':
      return kSizeNames;
    case 'c':
      return kColourNames;
    case 's':
      return kShapeNames;
    case 'p':
      return kPlacePhrases;
    case 'r':
      return kRelationNames;
    default:
      return kNumberNames;
  }
}

// Returns the content of the slots if `text` has this form.
inline std::optional<Slots> parse(std::string_view form, std::string_view text) {
  while (!form.empty() && form.front() != '{') {
    if (text.empty() || text.front() != form.front()) return {};
    form.remove_prefix(1);
    text.remove_prefix(1);
  }
  if (form.empty()) return text.empty() ? std::optional(Slots()) : std::nullopt;
  const std::span<const std::string_view> words = words_of(form[1]);
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!text.starts_with(words[i])) continue;
    if (std::optional<Slots> rest = parse(form.substr(3), text.substr(words[i].size()))) {
      rest->emplace(form[1], static_cast<std::int64_t>(i));
      return rest;
    }
  }
  return {};
}

struct Reading {
  std::string_view form;
  Slots slots;
  bool says(std::string_view part) const { return form.find(part) != std::string_view::npos; }
};

inline Reading read(std::span<const std::string_view> forms, std::string_view text) {
  for (const std::string_view form : forms) {
    if (const auto slots = parse(form, text)) return {form, *slots};
  }
  return {};
}

inline std::int64_t attribute(const Object& object, char slot) {
  switch (slot | 0x20) {
    case 'z':
      return static_cast<std::int64_t>(object.size);
    case 'c':
      return static_cast<std::int64_t>(object.colour);
    case 's':
      return static_cast<std::int64_t>(object.shape);
    default:
      return object.place;
  }
}

inline bool fits(const Object& object, const Slots& slots, std::string_view names) {
  return std::ranges::all_of(names, [&](char slot) {
    const auto found = slots.find(slot);
    return found == slots.end() || found->second == attribute(object, slot);
  });
}

inline bool stands(const Object& a, std::string_view how, const Object& b) {
  const std::int64_t columns = a.place % 3 - b.place % 3, rows = a.place / 3 - b.place / 3;
  const auto sizes = static_cast<std::int64_t>(a.size) - static_cast<std::int64_t>(b.size);
  return how == "left of"       ? columns < 0
         : how == "right of"    ? columns > 0
         : how == "above"       ? rows < 0
         : how == "below"       ? rows > 0
         : how == "larger than" ? sizes > 0
                                : sizes < 0;
}

// The objects that fit z c s p and have this relation to another one that fits Z C S P.
inline std::vector<Object> fitting(const Scene& scene, const Slots& slots) {
  std::vector<Object> found;
  for (const Object& a : scene.objects) {
    if (!fits(a, slots, "zcsp")) continue;
    const bool two = slots.contains('Z') || slots.contains('C') || slots.contains('S') || slots.contains('P');
    const bool beside = std::ranges::any_of(scene.objects, [&](const Object& b) {
      return &a != &b && fits(b, slots, "ZCSP") &&
             (!slots.contains('r') || stands(a, kRelationNames[slots.at('r')], b));
    });
    if (!two || beside) found.push_back(a);
  }
  return found;
}

// Whether `yes` of `all` is what a fair coin gives, within five deviations.
inline bool is_fair(std::int64_t yes, std::int64_t all, double probability = 0.5) {
  const double expected = static_cast<double>(all) * probability;
  const double off = static_cast<double>(yes) - expected;
  return off * off <= 25 * (expected * (1 - probability) + 1);
}

}  // namespace pixelbert::scenes::test
