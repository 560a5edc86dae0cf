#include "scenes/world.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/rng.h"

namespace pixelbert::scenes {
namespace {

double between(Random& random, double low, double high) {
  return low + (high - low) * random.uniform();
}

struct Extent {
  double low, high;
};

// Diameters in shorter sides, with visible gaps between the sizes. Objects in a crowd stay inside their ninth of the
// image, so they are smaller.
constexpr std::array<Extent, 3> kAlone = {{{0.22, 0.27}, {0.36, 0.42}, {0.53, 0.60}}};
constexpr std::array<Extent, 3> kInCrowd = {{{0.14, 0.16}, {0.21, 0.235}, {0.29, 0.315}}};

constexpr double kMargin = 0.01;  // between an object and the edge of the image or of its ninth

// The shades are at least 0.4 apart in some channel.
constexpr std::array<Rgb, kColours> kPaints = {{{0.86, 0.12, 0.12},
                                                {0.96, 0.84, 0.10},
                                                {0.10, 0.62, 0.18},
                                                {0.15, 0.85, 0.90},
                                                {0.12, 0.25, 0.85},
                                                {0.65, 0.15, 0.75},
                                                {0.96, 0.96, 0.96},
                                                {0.05, 0.05, 0.05}}};
constexpr double kShade = 0.05;

// The centre of a lone object: left of 0.37, in the middle, or right of 0.63, and the object inside the image.
double lone_centre(Random& random, std::int64_t third, double diameter) {
  if (third == 1) return between(random, 0.45, 0.55);
  const double offset = between(random, diameter / 2 + kMargin, 0.37);
  return third == 0 ? offset : 1 - offset;
}

// Inside its third of a side that is `length` shorter sides long.
double crowded_centre(Random& random, std::int64_t third, double diameter, double length) {
  const double slack = 1.0 / 6 - (diameter / 2 + kMargin) / length;
  return (static_cast<double>(third) + 0.5) / 3 + between(random, -slack, slack);
}

Rgb muted(Random& random) {
  const double grey = between(random, 0.38, 0.62);
  const auto channel = [&] { return grey + between(random, -0.07, 0.07); };
  return {channel(), channel(), channel()};
}

Ground make_ground(Random& random) {
  Ground ground;
  ground.kind = static_cast<GroundKind>(random.below(4));
  ground.base = muted(random);
  ground.other = muted(random);
  ground.angle = between(random, 0, std::numbers::pi);
  ground.period = between(random, 0.08, 0.25);
  ground.grain_key = random.next();
  return ground;
}

Rgb shade_of(Colour colour, Random& random) {
  const Rgb paint = kPaints[static_cast<std::size_t>(colour)];
  const auto shade = [&](double value) { return std::clamp(value + between(random, -kShade, kShade), 0.0, 1.0); };
  return {shade(paint.red), shade(paint.green), shade(paint.blue)};
}

}  // namespace

Scene make_scene(std::int64_t level, std::int64_t size, std::uint64_t key) {
  Random random(key);
  Scene scene;
  scene.width = scene.height = size;
  if (level > 1) {
    std::int64_t& longer = random.below(4) == 0 ? scene.height : scene.width;
    longer = size + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(size / 3 + 1)));
  }
  scene.ground = make_ground(random);

  std::array<std::int64_t, kPlaces> places;
  std::iota(places.begin(), places.end(), 0);
  random.shuffle(std::span<std::int64_t>(places));
  scene.objects.resize(level == 1 ? 1 : kFewest + random.below(kMost - kFewest + 1));
  for (std::size_t i = 0; i < scene.objects.size(); ++i) {
    Object& object = scene.objects[i];
    const auto twin = [&](const Object& earlier) {
      return earlier.colour == object.colour && earlier.shape == object.shape;
    };
    do {
      object.shape = static_cast<Shape>(random.below(kShapes));
      object.colour = static_cast<Colour>(random.below(kColours));
    } while (std::any_of(scene.objects.begin(), scene.objects.begin() + static_cast<std::ptrdiff_t>(i), twin));

    object.paint = shade_of(object.colour, random);
    object.size = static_cast<Size>(random.below(kSizes));
    const Extent diameter = (level == 1 ? kAlone : kInCrowd)[static_cast<std::size_t>(object.size)];
    object.diameter = between(random, diameter.low, diameter.high);
    object.place = places[i];
    object.turn = between(random, -0.12, 0.12);  // small: a diamond must not look like a square
    const double shorter = static_cast<double>(size);
    object.x = level == 1 ? lone_centre(random, object.column(), object.diameter)
                          : crowded_centre(random, object.column(), object.diameter, scene.width / shorter);
    object.y = level == 1 ? lone_centre(random, object.row(), object.diameter)
                          : crowded_centre(random, object.row(), object.diameter, scene.height / shorter);
  }
  return scene;
}

Relation opposite(Relation relation) {
  // Opposites are neighbours in the enumeration.
  return static_cast<Relation>(static_cast<int>(relation) ^ 1);
}

bool related(const Object& a, Relation relation, const Object& b) {
  switch (relation) {
    case Relation::LeftOf:
      return a.column() < b.column();
    case Relation::RightOf:
      return a.column() > b.column();
    case Relation::Above:
      return a.row() < b.row();
    case Relation::Below:
      return a.row() > b.row();
    case Relation::LargerThan:
      return a.size > b.size;
    case Relation::SmallerThan:
      return a.size < b.size;
  }
  return false;
}

std::vector<Relation> relations(const Object& a, const Object& b) {
  std::vector<Relation> held;
  for (std::int64_t i = 0; i < kRelations; ++i) {
    const auto relation = static_cast<Relation>(i);
    if (related(a, relation, b)) held.push_back(relation);
  }
  return held;
}

}  // namespace pixelbert::scenes
