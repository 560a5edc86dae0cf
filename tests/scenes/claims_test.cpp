#include "scenes/claims.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/check.h"

namespace pixelbert::scenes {
namespace {

// A large red star at the top left and a small blue ring on the right.
Scene star_and_ring() {
  Scene scene;
  scene.objects.resize(2);
  scene.objects[0].shape = Shape::Star, scene.objects[0].colour = Colour::Red, scene.objects[0].size = Size::Large;
  scene.objects[1].shape = Shape::Ring, scene.objects[1].colour = Colour::Blue, scene.objects[1].size = Size::Small;
  scene.objects[1].place = 5;
  return scene;
}

Claim about(std::string_view form, bool swapped = false) {
  const Scene scene = star_and_ring();
  Claim claim;
  claim.form = form;
  claim.a = scene.objects[swapped], claim.b = scene.objects[!swapped];
  claim.count = 2;
  return claim;
}

TEST(Claim, IsSaidInTheWordsOfItsSlots) {
  EXPECT_EQ(say(about("a {z} {c} {s} {p}")), "a large red star at the top left");
  EXPECT_EQ(say(about("{n} : the {s} is {r} a {Z} {C} {S} {P}")),
            "two : the star is left of a small blue ring on the right");
  EXPECT_THROW(say(about("a {x}")), Error);
}

TEST(Claim, HoldsWhereAnObjectIsAsItSays) {
  const Scene scene = star_and_ring();
  EXPECT_TRUE(holds(about("{z} {c} {s} {p}"), scene));
  EXPECT_TRUE(holds(about("{c} {s} {r} {C} {S}"), scene));
  EXPECT_TRUE(holds(about("{n} {s}"), scene));
  for (const char slot : {'z', 'c', 's', 'p'}) {
    Claim claim = about("{z} {c} {s} {p}");
    Random random(1);
    change(claim, slot, random);
    EXPECT_FALSE(holds(claim, scene)) << say(claim);
  }
  Claim claim = about("{s} {r} {S}");
  claim.relation = Relation::RightOf;
  EXPECT_FALSE(holds(claim, scene));
  claim = about("{n}");
  claim.count = 3;
  EXPECT_FALSE(holds(claim, scene));
}

TEST(Claim, NeedsTwoObjectsToSpeakOfTwo) {
  Claim claim = about("a {s} and a {S}");
  EXPECT_TRUE(holds(claim, star_and_ring()));
  claim.b = claim.a;
  EXPECT_FALSE(holds(claim, star_and_ring()));
}

TEST(Claim, CountsItsWitnesses) {
  Scene scene = star_and_ring();
  scene.objects[1].shape = Shape::Star;
  EXPECT_EQ(witnesses(about("{s}"), scene), 2);
  EXPECT_EQ(witnesses(about("{c} {s}"), scene), 1);
  EXPECT_EQ(witnesses(about("{c} {s}"), scene, 'c'), 2);
}

TEST(ChangedClaim, TakesEachOtherValueEquallyOften) {
  for (const auto& [slot, others] : {std::pair('c', 7), {'s', 7}, {'z', 2}, {'p', 8}, {'n', 2}}) {
    const std::string form = {'{', slot, '}'};
    std::map<std::string, int> found;
    Random random(1);
    for (int i = 0; i < 7000; ++i) {
      Claim claim = about(form);
      change(claim, slot, random);
      ++found[say(claim)];
    }
    EXPECT_EQ(found.size(), static_cast<std::size_t>(others)) << slot;
    EXPECT_FALSE(found.contains(say(about(form)))) << slot;
    for (const auto& [text, count] : found) EXPECT_NEAR(count, 7000.0 / others, 200) << text;
  }
}

TEST(DrawObjects, TakesEveryTwoObjectsAndOnlyRelationsThatHold) {
  const Scene scene = star_and_ring();
  std::set<std::string> texts;
  Random random(1);
  for (int i = 0; i < 200; ++i) {
    Claim claim;
    claim.form = "{s} {r} {S}";
    draw_objects(claim, scene, random);
    texts.insert(say(claim));
  }
  EXPECT_EQ(texts, std::set<std::string>({"star left of ring", "star above ring", "star larger than ring",
                                          "ring right of star", "ring below star", "ring smaller than star"}));
}

TEST(Falsified, DoesNotHoldAndNeverMakesTwoObjectsOne) {
  const Scene scene = star_and_ring();
  Random random(1);
  std::set<char> changed;
  for (int i = 0; i < 2000; ++i) {
    const Claim claim = about("{c} {s} {C} {S}");
    const Claim altered = falsified(claim, scene, "csCS", random);
    ASSERT_FALSE(holds(altered, scene));
    ASSERT_FALSE(altered.a.colour == altered.b.colour && altered.a.shape == altered.b.shape);
    for (const char slot : {'c', 's', 'C', 'S'}) {
      if (word(altered, slot) != word(claim, slot)) changed.insert(slot);
    }
  }
  EXPECT_EQ(changed, std::set<char>({'c', 's', 'C', 'S'}));
}

}  // namespace
}  // namespace pixelbert::scenes
