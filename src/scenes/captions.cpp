#include "scenes/captions.h"

#include <set>
#include <string>

#include "core/check.h"
#include "core/rng.h"

namespace pixelbert::scenes {
namespace {

// Short, so that many of the masked words are attributes. The first forms describe one object, the next two, the last
// relate two.
constexpr std::string_view kForms[] = {
    "a {z} {c} {s} {p}",
    "a {c} {s} {p}",
    "a {z} {c} {s}",
    "{p} a {z} {c} {s}",
    "{p} there is a {c} {s}",
    "the {s} {p} is {z} and {c}",
    "the {c} {s} is {z}",
    "one {s} , {z} and {c} , {p}",
    "{z} {c} {s} {p}",
    "this {s} is {c} and {p}",
    "{c} and {z} is the {s} {p}",
    "a {s} that is {z} and {c}",

    "a {c} {s} and a {C} {S}",
    "a {z} {s} and a {C} {S}",
    "a {c} {s} {p} and a {S} {P}",
    "a {z} {c} {s} with a {S} {P}",

    "a {c} {s} {r} a {C} {S}",
    "the {c} {s} is {r} the {C} {S}",
    "a {c} {s} is {r} a {S}",
    "{r} the {C} {S} is a {s}",
    "{r} the {C} {S} there is a {c} {s}",
    "a {s} is {r} the {C} {S}",
};
constexpr std::size_t kAboutOne = 12, kAboutTwo = 4;

// Level 2 describes one object or two, equally often; level 3 relates two in half of its captions.
std::string_view draw_form(std::int64_t level, Random& random) {
  const std::span forms(kForms);
  const auto one_of = [&](std::span<const std::string_view> some) { return some[random.below(some.size())]; };
  if (level == 3 && random.below(2) == 0) return one_of(forms.subspan(kAboutOne + kAboutTwo));
  if (level >= 2 && random.below(2) == 0) return one_of(forms.subspan(kAboutOne, kAboutTwo));
  return one_of(forms.first(kAboutOne));
}

}  // namespace

std::vector<Claim> captions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key) {
  PB_CHECK(count >= 1 && count <= kMostTexts, "expected 1 to {} captions, found {}", kMostTexts, count);
  Random random(key);
  std::set<std::string> said;
  std::vector<Claim> claims;
  while (static_cast<std::int64_t>(claims.size()) < count) {
    Claim claim;
    claim.form = draw_form(level, random);
    draw_objects(claim, scene, random);
    if (said.insert(say(claim)).second) claims.push_back(claim);
  }
  return claims;
}

std::span<const std::string_view> caption_forms() {
  return kForms;
}

}  // namespace pixelbert::scenes
