#include "scenes/world.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "tests/scenes/oracle.h"

namespace pixelbert::scenes {
namespace {

constexpr std::int64_t kSize = 96;

TEST(MakeScene, IsAFunctionOfItsKey) {
  const Scene scene = make_scene(3, kSize, 5), same = make_scene(3, kSize, 5), other = make_scene(3, kSize, 6);
  EXPECT_EQ(scene.objects.front().x, same.objects.front().x);
  EXPECT_EQ(scene.ground.grain_key, same.ground.grain_key);
  EXPECT_NE(scene.objects.front().x, other.objects.front().x);
  EXPECT_NE(scene.ground.grain_key, other.ground.grain_key);
}

TEST(MakeScene, HasAsManyObjectsAsTheLevelSays) {
  std::map<std::int64_t, std::set<std::size_t>> counts;
  for (std::int64_t level = 1; level <= 3; ++level) {
    for (std::uint64_t key = 0; key < 100; ++key) counts[level].insert(make_scene(level, kSize, key).objects.size());
  }
  EXPECT_EQ(counts[1], std::set<std::size_t>({1}));
  EXPECT_EQ(counts[2], std::set<std::size_t>({2, 3, 4}));
  EXPECT_EQ(counts[3], std::set<std::size_t>({2, 3, 4}));
}

TEST(MakeScene, KeepsTheShorterSideAndVariesTheLonger) {
  std::set<std::int64_t> longer;
  for (std::uint64_t key = 0; key < 300; ++key) {
    const Scene square = make_scene(1, kSize, key), oblong = make_scene(2, kSize, key);
    EXPECT_EQ(std::tuple(square.width, square.height), std::tuple(kSize, kSize));
    EXPECT_EQ(std::min(oblong.width, oblong.height), kSize);
    longer.insert(std::max(oblong.width, oblong.height));
  }
  EXPECT_GE(*longer.begin(), kSize);
  EXPECT_LE(*longer.rbegin(), kSize * 4 / 3);
  EXPECT_GT(longer.size(), 20U);
}

TEST(MakeScene, ObjectsStandInTheirPlaceAndInsideTheImage) {
  for (std::int64_t level = 1; level <= 2; ++level) {
    for (std::uint64_t key = 0; key < 2000; ++key) {
      const Scene scene = make_scene(level, kSize, key);
      const double shorter = static_cast<double>(kSize);
      for (const Object& object : scene.objects) {
        const double radius = object.diameter / 2 * shorter;
        for (const auto& [at, side, third] :
             {std::tuple(object.x, scene.width, object.column()), std::tuple(object.y, scene.height, object.row())}) {
          const auto length = static_cast<double>(side);
          // The centre of a lone object keeps a distance from the borders of its third.
          const double low = level == 1 ? (third == 0 ? 0 : third == 1 ? 0.45 : 0.63) : static_cast<double>(third) / 3;
          const double high = level == 1 ? (third == 0 ? 0.37 : third == 1 ? 0.55 : 1) : low + 1.0 / 3;
          ASSERT_GE(at, low) << level << ' ' << key;
          ASSERT_LE(at, high) << level << ' ' << key;
          ASSERT_GE(at * length - radius, 0) << level << ' ' << key;
          ASSERT_LE(at * length + radius, length) << level << ' ' << key;
        }
      }
    }
  }
}

TEST(MakeScene, ObjectsNeitherTouchNorHaveTwins) {
  for (std::uint64_t key = 0; key < 2000; ++key) {
    const Scene scene = make_scene(3, kSize, key);
    for (const Object& a : scene.objects) {
      for (const Object& b : scene.objects) {
        if (&a == &b) continue;
        ASSERT_NE(a.place, b.place);
        ASSERT_FALSE(a.colour == b.colour && a.shape == b.shape);
        const double radii = (a.diameter + b.diameter) / 2 * static_cast<double>(kSize);
        const double across = std::abs(a.x - b.x) * static_cast<double>(scene.width);
        const double down = std::abs(a.y - b.y) * static_cast<double>(scene.height);
        ASSERT_GT(std::max(across, down), radii) << key;
      }
    }
  }
}

// One attribute reveals nothing about another, or about the ground.
TEST(MakeScene, AttributesAreEquallyLikelyAndIndependent) {
  constexpr std::int64_t kScenes = 30000;
  std::map<std::tuple<char, std::int64_t, char, std::int64_t>, std::int64_t> counts;
  const std::map<char, std::int64_t> values = {
      {'c', kColours}, {'s', kShapes}, {'z', kSizes}, {'p', kPlaces}, {'g', 4}};
  const auto value = [](const Scene& scene, char slot) {
    return slot == 'g' ? static_cast<std::int64_t>(scene.ground.kind) : test::attribute(scene.objects.front(), slot);
  };
  for (std::uint64_t key = 0; key < kScenes; ++key) {
    const Scene scene = make_scene(1, kSize, key);
    for (const auto& [one, n] : values) {
      for (const auto& [other, m] : values) {
        if (one < other) ++counts[{one, value(scene, one), other, value(scene, other)}];
      }
    }
  }
  for (const auto& [one, n] : values) {
    for (const auto& [other, m] : values) {
      if (one >= other) continue;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j < m; ++j) {
          const std::int64_t count = counts[{one, i, other, j}];
          EXPECT_TRUE(test::is_fair(count, kScenes, 1.0 / static_cast<double>(n * m)))
              << one << i << ' ' << other << j << ": " << count;
        }
      }
    }
  }
}

TEST(Related, SpeaksOfColumnsRowsAndSizes) {
  Object a, b;
  a.place = 0, b.place = 1, a.size = Size::Small, b.size = Size::Large;
  EXPECT_EQ(relations(a, b), std::vector({Relation::LeftOf, Relation::SmallerThan}));
  EXPECT_EQ(relations(b, a), std::vector({Relation::RightOf, Relation::LargerThan}));
  a.x = 1;  // pixels do not matter
  EXPECT_TRUE(related(a, Relation::LeftOf, b));
  b.place = 3, b.size = Size::Small;
  EXPECT_EQ(relations(a, b), std::vector({Relation::Above}));
}

TEST(Related, OppositesNeverHoldTogether) {
  for (std::uint64_t key = 0; key < 500; ++key) {
    const Scene scene = make_scene(3, kSize, key);
    const Object &a = scene.objects[0], &b = scene.objects[1];
    for (std::int64_t i = 0; i < kRelations; ++i) {
      const auto relation = static_cast<Relation>(i);
      ASSERT_EQ(related(a, relation, b), test::stands(a, kRelationNames[i], b));
      ASSERT_EQ(related(a, relation, b), related(b, opposite(relation), a));
      ASSERT_FALSE(related(a, relation, b) && related(a, opposite(relation), b));
    }
  }
}

}  // namespace
}  // namespace pixelbert::scenes
