#include "sources/scenes_claims.h"

#include <algorithm>

#include "core/check.h"

namespace pixelbert::sources {
namespace {

template <std::size_t N, class Index>
std::string_view at(const std::string_view (&table)[N], Index index) {
  return table[static_cast<std::size_t>(index)];
}

// Whether two objects are the same in what a slot of a (z c s p) names.
bool alike(const Object& one, const Object& other, char slot) {
  switch (slot) {
    case 'z':
      return one.size == other.size;
    case 'c':
      return one.colour == other.colour;
    case 's':
      return one.shape == other.shape;
    default:
      return one.place == other.place;
  }
}

}  // namespace

bool names(std::string_view form, char slot) {
  const char text[] = {'{', slot, '}'};
  return form.find(std::string_view(text, sizeof text)) != std::string_view::npos;
}

std::string_view word(const Claim& claim, char slot) {
  const bool of_b = slot >= 'A' && slot <= 'Z';
  const Object& object = of_b ? claim.b : claim.a;
  switch (of_b ? slot - 'A' + 'a' : slot) {
    case 'z':
      return at(kSizeNames, object.size);
    case 'c':
      return at(kColourNames, object.colour);
    case 's':
      return at(kShapeNames, object.shape);
    case 'p':
      return at(kPlacePhrases, object.place);
    case 'r':
      return at(kRelationNames, claim.relation);
    case 'n':
      return at(kNumberNames, claim.count);
  }
  fail(fmt::format("the form '{}' has an unknown slot '{}'", claim.form, slot));
}

std::string say(const Claim& claim) {
  std::string text;
  for (std::size_t i = 0; i < claim.form.size(); ++i) {
    if (claim.form[i] != '{') {
      text += claim.form[i];
    } else {
      text += word(claim, claim.form.at(i + 1));
      i += 2;
    }
  }
  return text;
}

std::int64_t witnesses(const Claim& claim, const Scene& scene, char ignored) {
  const auto fits = [&](const Object& object, const Object& wanted, std::string_view slots) {
    return std::ranges::all_of(std::string_view("zcsp"), [&](char slot) {
      const char in_form = slots[std::string_view("zcsp").find(slot)];
      return in_form == ignored || !names(claim.form, in_form) || alike(object, wanted, slot);
    });
  };
  const bool has_b = std::ranges::any_of(std::string_view("ZCSP"), [&](char slot) { return names(claim.form, slot); });
  const bool has_relation = names(claim.form, 'r') && ignored != 'r';
  return std::ranges::count_if(scene.objects, [&](const Object& a) {
    if (!fits(a, claim.a, "zcsp")) return false;
    return !has_b || std::ranges::any_of(scene.objects, [&](const Object& b) {
      return &a != &b && fits(b, claim.b, "ZCSP") && (!has_relation || related(a, claim.relation, b));
    });
  });
}

bool holds(const Claim& claim, const Scene& scene) {
  if (names(claim.form, 'n') && claim.count != static_cast<std::int64_t>(scene.objects.size())) return false;
  return witnesses(claim, scene) > 0;
}

}  // namespace pixelbert::sources
