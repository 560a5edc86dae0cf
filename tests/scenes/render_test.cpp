#include "scenes/render.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "images/codec.h"
#include "scenes/claims.h"

namespace pixelbert::scenes {
namespace {

constexpr std::int64_t kSize = 96;

struct Pixels {
  images::Size size;
  std::vector<std::uint8_t> rgb;
};

Pixels decode(const std::vector<std::uint8_t>& encoded) {
  Pixels pixels;
  pixels.size = images::probe(encoded);
  pixels.rgb.resize(static_cast<std::size_t>(3 * pixels.size.height * pixels.size.width));
  images::decode_into(encoded, pixels.size, pixels.rgb.data());
  return pixels;
}

// Finds a lone object by what changes when it is removed.
struct Seen {
  std::vector<bool> mask;
  std::int64_t area = 0;
  double x = 0, y = 0;         // centre of its bounding box, in sides
  std::array<double, 3> mean;  // colour, 0..255
};

Seen look(Scene scene) {
  const Pixels with = decode(render_jpeg(scene));
  scene.objects.clear();
  const Pixels without = decode(render_jpeg(scene));
  Seen seen{std::vector<bool>(with.rgb.size() / 3), 0, 0, 0, {}};
  std::int64_t left = kSize, right = 0, top = kSize, bottom = 0;
  for (std::size_t i = 0; i < seen.mask.size(); ++i) {
    int most = 0;
    for (std::size_t c = 0; c < 3; ++c) most = std::max(most, std::abs(with.rgb[3 * i + c] - without.rgb[3 * i + c]));
    if (most < 40) continue;  // noise of the codec
    seen.mask[i] = true;
    ++seen.area;
    for (std::size_t c = 0; c < 3; ++c) seen.mean[c] += with.rgb[3 * i + c];
    const auto x = static_cast<std::int64_t>(i) % kSize, y = static_cast<std::int64_t>(i) / kSize;
    left = std::min(left, x), right = std::max(right, x), top = std::min(top, y), bottom = std::max(bottom, y);
  }
  for (double& channel : seen.mean) channel /= static_cast<double>(std::max<std::int64_t>(seen.area, 1));
  seen.x = static_cast<double>(left + right + 1) / (2 * kSize);
  seen.y = static_cast<double>(top + bottom + 1) / (2 * kSize);
  return seen;
}

std::int64_t third(double at) {
  return at < 0.41 ? 0 : at < 0.59 ? 1 : 2;
}

// Names a colour by the nearest of these.
Colour name_of(const std::array<double, 3>& rgb) {
  const std::array<std::array<double, 3>, kColours> pure = {{{225, 30, 30},
                                                             {240, 215, 20},
                                                             {20, 150, 40},
                                                             {30, 220, 230},
                                                             {30, 50, 220},
                                                             {160, 40, 190},
                                                             {250, 250, 250},
                                                             {5, 5, 5}}};
  std::size_t nearest = 0;
  double least = std::numeric_limits<double>::max();
  for (std::size_t i = 0; i < pure.size(); ++i) {
    double distance = 0;
    for (std::size_t c = 0; c < 3; ++c) distance += (rgb[c] - pure[i][c]) * (rgb[c] - pure[i][c]);
    if (distance < least) least = distance, nearest = i;
  }
  return static_cast<Colour>(nearest);
}

TEST(RenderJpeg, DecodesToTheSizeOfTheScene) {
  for (std::int64_t level = 1; level <= 3; ++level) {
    for (const std::int64_t size : {32, 96, 224}) {
      const Scene scene = make_scene(level, size, 7);
      const Pixels pixels = decode(render_jpeg(scene));
      EXPECT_EQ(pixels.size, (images::Size{scene.height, scene.width}));
    }
  }
}

TEST(RenderJpeg, GivesTheSameBytesForTheSameScene) {
  EXPECT_EQ(render_jpeg(make_scene(3, kSize, 1)), render_jpeg(make_scene(3, kSize, 1)));
  EXPECT_NE(render_jpeg(make_scene(3, kSize, 1)), render_jpeg(make_scene(3, kSize, 2)));
}

TEST(RenderJpeg, ShowsTheObjectInItsPlaceAndColour) {
  for (std::uint64_t key = 0; key < 400; ++key) {
    const Scene scene = make_scene(1, kSize, key);
    const Object& object = scene.objects.front();
    const Seen seen = look(scene);
    ASSERT_GT(seen.area, 80) << key;
    // The bounding box of a turned heart or triangle is slightly off its centre.
    EXPECT_NEAR(seen.x, object.x, 0.06) << key;
    EXPECT_NEAR(seen.y, object.y, 0.06) << key;
    EXPECT_EQ(third(seen.x), object.column()) << key;
    EXPECT_EQ(third(seen.y), object.row()) << key;
    EXPECT_EQ(name_of(seen.mean), object.colour)
        << key << ": " << seen.mean[0] << ' ' << seen.mean[1] << ' ' << seen.mean[2];
  }
}

Scene middle(Shape shape, Size size, std::uint64_t key) {
  for (;; ++key) {
    Scene scene = make_scene(1, kSize, key);
    Object& object = scene.objects.front();
    if (object.size != size || object.place != 4 || object.colour != Colour::White) continue;
    object.shape = shape;
    object.x = object.y = 0.5;
    return scene;
  }
}

TEST(RenderJpeg, SizesOfAShapeDoNotOverlap) {
  for (std::int64_t shape = 0; shape < kShapes; ++shape) {
    std::map<Size, std::pair<std::int64_t, std::int64_t>> areas;
    for (const Size size : {Size::Small, Size::Medium, Size::Large}) {
      auto& [least, most] = areas.emplace(size, std::pair(kSize * kSize, 0)).first->second;
      for (std::uint64_t key = 0; key < 5; ++key) {
        const std::int64_t area = look(middle(static_cast<Shape>(shape), size, 10000 * key)).area;
        least = std::min(least, area), most = std::max(most, area);
      }
    }
    EXPECT_LT(areas[Size::Small].second * 3 / 2, areas[Size::Medium].first) << kShapeNames[shape];
    EXPECT_LT(areas[Size::Medium].second * 3 / 2, areas[Size::Large].first) << kShapeNames[shape];
  }
}

TEST(RenderJpeg, NoTwoShapesLookAlike) {
  for (std::int64_t one = 0; one < kShapes; ++one) {
    for (std::int64_t other = 0; other < one; ++other) {
      const Seen a = look(middle(static_cast<Shape>(one), Size::Medium, 0));
      const Seen b = look(middle(static_cast<Shape>(other), Size::Medium, 0));
      std::int64_t both = 0, either = 0;
      for (std::size_t i = 0; i < a.mask.size(); ++i) {
        both += a.mask[i] && b.mask[i];
        either += a.mask[i] || b.mask[i];
      }
      EXPECT_LT(static_cast<double>(both), 0.85 * static_cast<double>(either))
          << kShapeNames[one] << ' ' << kShapeNames[other];
    }
  }
}

}  // namespace
}  // namespace pixelbert::scenes
