#include "scenes/statements.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "core/rng.h"
#include "scenes/captions.h"
#include "scenes/claims.h"

namespace pixelbert::scenes {
namespace {

enum class Says {
  OfLeft,   // a claim about the left image,
  OfRight,  // the right one
  Shared,   // the objects of the images agree in `slots`
  NotShared,
  InBoth,  // an object a is in both images
  InOne,
  Relation,  // how the left object relates to the right one
  MoreLeft,
  MoreRight,
};

struct Kind {
  std::string_view form;
  Says says;
  std::string_view slots;            // those that a false statement alters, or that the images may share
  std::int64_t least = 1, most = 3;  // levels
};

constexpr Kind kKinds[] = {
    {"the left picture shows a {z} {c} {s}", Says::OfLeft, "zcs"},
    {"there is a {c} {s} {p} of the left picture", Says::OfLeft, "csp"},
    {"the right picture shows a {z} {c} {s}", Says::OfRight, "zcs"},
    {"there is a {c} {s} {p} of the right picture", Says::OfRight, "csp"},
    {"the left picture shows a {c} {s} and a {C} {S}", Says::OfLeft, "csCS", 2, 3},
    {"the right picture shows a {c} {s} and a {C} {S}", Says::OfRight, "csCS", 2, 3},
    {"a {c} {s} is {r} a {C} {S} in the left picture", Says::OfLeft, "r", 3, 3},
    {"a {c} {s} is {r} a {C} {S} in the right picture", Says::OfRight, "r", 3, 3},
    {"the objects have the same color", Says::Shared, "c", 1, 1},
    {"the objects have the same shape", Says::Shared, "s", 1, 1},
    {"the objects have the same size", Says::Shared, "z", 1, 1},
    {"the objects differ in color", Says::NotShared, "c", 1, 1},
    {"the objects differ in shape", Says::NotShared, "s", 1, 1},
    {"the objects differ in size", Says::NotShared, "z", 1, 1},
    {"both objects are {c}", Says::InBoth, "c", 1, 1},
    {"each picture shows a {s}", Says::InBoth, "s", 1, 1},
    {"only one object is {c}", Says::InOne, "c", 1, 1},
    {"only one picture shows a {s}", Says::InOne, "s", 1, 1},
    {"the left object is {r} the right one", Says::Relation, "r", 1, 1},
    {"each picture shows a {c} {s}", Says::InBoth, "cs", 2, 3},
    {"only one picture shows a {c} {s}", Says::InOne, "cs", 2, 3},
    {"there are more objects in the left picture", Says::MoreLeft, "", 2, 3},
    {"there are more objects in the right picture", Says::MoreRight, "", 2, 3},
};

constexpr auto kForms = [] {
  std::array<std::string_view, std::size(kKinds)> forms;
  for (std::size_t i = 0; i < forms.size(); ++i) forms[i] = kKinds[i].form;
  return forms;
}();

struct Scenes {
  const Scene& left;
  const Scene& right;
};

bool has(const Scene& scene, const Object& wanted, std::string_view slots) {
  return std::ranges::any_of(scene.objects, [&](const Object& object) {
    return std::ranges::all_of(slots, [&](char slot) { return alike(object, wanted, slot); });
  });
}

// An object that both scenes have, or else one of either.
Object draw_shared(const Scenes& scenes, std::string_view slots, Random& random) {
  std::vector<Object> candidates;
  for (const Object& object : scenes.left.objects) {
    if (has(scenes.right, object, slots)) candidates.push_back(object);
  }
  if (candidates.empty()) candidates = random.below(2) == 0 ? scenes.left.objects : scenes.right.objects;
  return candidates[random.below(candidates.size())];
}

struct Draft {
  Statement statement;
  std::int64_t first = -1, second = -1;  // places of the objects that a claim about one image names
};

Draft of_one(const Kind& kind, const Scene& scene, Random& random) {
  Claim claim;
  claim.form = kind.form;
  draw_objects(claim, scene, random);
  Draft draft;
  draft.first = claim.a.place;
  if (names(kind.form, 'C')) draft.second = claim.b.place;
  draft.statement.is_true = random.below(2) == 0;
  draft.statement.text = say(draft.statement.is_true ? claim : falsified(claim, scene, kind.slots, random));
  return draft;
}

// Empty when the kind has nothing to say: which object is larger, when both have the same size.
std::optional<Draft> draw(const Kind& kind, const Scenes& scenes, Random& random) {
  const auto& [left, right] = scenes;
  const auto draft = [](std::string text, bool is_true) { return Draft{{std::move(text), is_true}}; };
  Claim claim;
  claim.form = kind.form;
  switch (kind.says) {
    case Says::OfLeft:
      return of_one(kind, left, random);
    case Says::OfRight:
      return of_one(kind, right, random);
    case Says::Shared:
      return draft(say(claim), share(left, right, kind.slots));
    case Says::NotShared:
      return draft(say(claim), !share(left, right, kind.slots));
    case Says::InBoth:
    case Says::InOne:
      claim.a = draw_shared(scenes, kind.slots, random);
      return draft(say(claim), share(left, right, kind.slots) == (kind.says == Says::InBoth));
    case Says::Relation: {
      const Object &a = left.objects.front(), &b = right.objects.front();
      if (a.size == b.size) return {};
      claim.relation = random.below(2) == 0 ? Relation::LargerThan : Relation::SmallerThan;
      return draft(say(claim), related(a, claim.relation, b));
    }
    case Says::MoreLeft:
    case Says::MoreRight:
      if (left.objects.size() == right.objects.size()) return {};
      return draft(say(claim), (left.objects.size() > right.objects.size()) == (kind.says == Says::MoreLeft));
  }
  return {};
}

}  // namespace

bool share(const Scene& left, const Scene& right, std::string_view slots) {
  return std::ranges::any_of(left.objects, [&](const Object& object) { return has(right, object, slots); });
}

Scene make_right_scene(const Scene& left, std::int64_t level, std::int64_t size, std::uint64_t key) {
  Random random(key);
  const auto coins = random.below(8);
  // Fixed in advance, too: scenes that share an object with `left` have more objects than others.
  const std::size_t objects = make_scene(level, size, random.next()).objects.size();
  const auto settled = [&](const Scene& right) {
    if (right.objects.size() != objects) return false;
    if (level > 1) return share(left, right, "cs") == (coins % 2 == 1);
    return share(left, right, "c") == (coins % 2 == 1) && share(left, right, "s") == (coins / 2 % 2 == 1) &&
           share(left, right, "z") == (coins / 4 == 1);
  };
  for (;;) {
    Scene right = make_scene(level, size, random.next());
    if (settled(right)) return right;
  }
}

std::vector<Statement> statements(const Scene& left, const Scene& right, std::int64_t level, std::int64_t count,
                                  std::uint64_t key) {
  PB_CHECK(count >= 1 && count <= kMostTexts, "expected 1 to {} statements, found {}", kMostTexts, count);
  Random random(key);
  // State each matter once: there are more ways to be wrong about it than right.
  std::set<std::tuple<const Kind*, std::int64_t, std::int64_t>> matters;
  std::set<std::string> texts;
  std::vector<Statement> statements;
  while (static_cast<std::int64_t>(statements.size()) < count) {
    const Kind& kind = kKinds[random.below(std::size(kKinds))];
    if (level < kind.least || level > kind.most) continue;
    std::optional<Draft> draft = draw(kind, {left, right}, random);
    if (!draft || !matters.emplace(&kind, draft->first, draft->second).second) continue;
    if (texts.insert(draft->statement.text).second) statements.push_back(std::move(draft->statement));
  }
  return statements;
}

std::span<const std::string_view> statement_forms() {
  return kForms;
}

}  // namespace pixelbert::scenes
