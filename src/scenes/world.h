// The procedural world: objects with a shape, a colour, a size and a place on a textured ground.
#pragma once

#include <cstdint>
#include <vector>

namespace pixelbert::scenes {

enum class Shape { Circle, Square, Triangle, Star, Cross, Heart, Ring, Diamond };
enum class Colour { Red, Yellow, Green, Cyan, Blue, Purple, White, Black };
enum class Size { Small, Medium, Large };
enum class GroundKind { Noise, Gradient, Stripes, Blotches };

constexpr std::int64_t kShapes = 8;
constexpr std::int64_t kColours = 8;
constexpr std::int64_t kSizes = 3;
constexpr std::int64_t kPlaces = 9;
constexpr std::int64_t kFewest = 2, kMost = 4;  // objects from level 2 on

struct Rgb {
  double red = 0, green = 0, blue = 0;  // 0..1
};

struct Object {
  Shape shape{};
  Colour colour{};
  Size size{};
  std::int64_t place = 0;  // of the centre: 3 * row + column, from the top left

  // What no text mentions. All continuous, so that no two scenes are equal.
  double x = 0, y = 0;  // centre, in widths and heights of the image
  double diameter = 0;  // in shorter sides of the image
  double turn = 0;      // radians
  Rgb paint;            // the colour in one of its shades

  std::int64_t row() const { return place / 3; }
  std::int64_t column() const { return place % 3; }
};

// Muted greys, so that every colour of an object stands out.
struct Ground {
  GroundKind kind{};
  Rgb base, other;
  double angle = 0;             // radians
  double period = 0;            // of stripes and blotches, in shorter sides
  std::uint64_t grain_key = 0;  // of the noise in single pixels
};

struct Scene {
  std::int64_t width = 0, height = 0;  // pixels
  Ground ground;
  std::vector<Object> objects;  // no two of the same colour and shape, and no two at the same place
};

// One object for level 1, kFewest to kMost for the others. `size` is the shorter side of the image in pixels; the
// longer one is equal at level 1 and up to 4/3 of it above. A pure function of its arguments.
Scene make_scene(std::int64_t level, std::int64_t size, std::uint64_t key);

enum class Relation { LeftOf, RightOf, Above, Below, LargerThan, SmallerThan };
constexpr std::int64_t kRelations = 6;

Relation opposite(Relation relation);

// Compares columns, rows and sizes as texts name them, never pixels: neither of two objects in one column is left of
// the other.
bool related(const Object& a, Relation relation, const Object& b);

// Returns all relations of a to b: one of two opposites, or neither.
std::vector<Relation> relations(const Object& a, const Object& b);

}  // namespace pixelbert::scenes
