#include "scenes/claims.h"

#include <algorithm>

#include "core/check.h"

namespace pixelbert::scenes {
namespace {

template <std::size_t N, class Index>
std::string_view at(const std::string_view (&table)[N], Index index) {
  return table[static_cast<std::size_t>(index)];
}

// Changes `value` to another one in [least, bound).
template <class Value>
void replace(Value& value, std::int64_t least, std::int64_t bound, Random& random) {
  const auto offset = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(bound - least - 1)));
  const std::int64_t other = least + offset;
  value = static_cast<Value>(other < static_cast<std::int64_t>(value) ? other : other + 1);
}

}  // namespace

bool names(std::string_view form, char slot) {
  const char text[] = {'{', slot, '}'};
  return form.find(std::string_view(text, sizeof text)) != std::string_view::npos;
}

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

void draw_objects(Claim& claim, const Scene& scene, Random& random) {
  const std::size_t objects = scene.objects.size();
  const std::size_t first = random.below(objects);
  claim.a = scene.objects[first];
  claim.count = static_cast<std::int64_t>(objects);
  if (objects == 1) return;
  claim.b = scene.objects[(first + 1 + random.below(objects - 1)) % objects];
  const std::vector<Relation> held = relations(claim.a, claim.b);  // never empty: no two share a place
  claim.relation = held[random.below(held.size())];
}

void change(Claim& claim, char slot, Random& random) {
  Object& object = slot >= 'A' && slot <= 'Z' ? claim.b : claim.a;
  switch (slot) {
    case 'z':
    case 'Z':
      return replace(object.size, 0, kSizes, random);
    case 'c':
    case 'C':
      return replace(object.colour, 0, kColours, random);
    case 's':
    case 'S':
      return replace(object.shape, 0, kShapes, random);
    case 'p':
    case 'P':
      return replace(object.place, 0, kPlaces, random);
    case 'n':
      return replace(claim.count, kFewest, kMost + 1, random);
    case 'r':
      claim.relation = opposite(claim.relation);
      return;
  }
  fail(fmt::format("the form '{}' has an unknown slot '{}'", claim.form, slot));
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

Claim falsified(const Claim& claim, const Scene& scene, std::string_view slots, Random& random) {
  for (;;) {
    Claim altered = claim;
    change(altered, slots[random.below(slots.size())], random);
    const bool twice = names(claim.form, 'C') && alike(altered.a, altered.b, 'c') && alike(altered.a, altered.b, 's');
    if (!twice && !holds(altered, scene)) return altered;
  }
}

}  // namespace pixelbert::scenes
