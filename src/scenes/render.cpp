#include "scenes/render.h"

#include <cairo.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "core/check.h"
#include "core/rng.h"
#include "core/unique_handle.h"

namespace pixelbert::scenes {
namespace {

constexpr int kQuality = 92;
constexpr double kGrain = 10;  // greatest deviation of a pixel of the ground, out of 255

using Surface = UniqueHandle<PointerTraits<cairo_surface_t, cairo_surface_destroy>>;
using Context = UniqueHandle<PointerTraits<cairo_t, cairo_destroy>>;
using Pattern = UniqueHandle<PointerTraits<cairo_pattern_t, cairo_pattern_destroy>>;
using Compressor = UniqueHandle<PointerTraits<void, tjDestroy>>;
using Encoded = UniqueHandle<PointerTraits<unsigned char, tjFree>>;

void set_paint(cairo_t* context, const Rgb& paint) {
  cairo_set_source_rgb(context, paint.red, paint.green, paint.blue);
}

// Outlines around the origin, with a largest extent close to 1.

void polygon(cairo_t* context, int corners, double radius, double inner_radius) {
  const int points = inner_radius > 0 ? 2 * corners : corners;
  for (int i = 0; i < points; ++i) {
    const double angle = 2 * std::numbers::pi * i / points - std::numbers::pi / 2;
    const double r = inner_radius > 0 && i % 2 == 1 ? inner_radius : radius;
    cairo_line_to(context, r * std::cos(angle), r * std::sin(angle));
  }
  cairo_close_path(context);
}

void circle(cairo_t* context, double radius) {
  cairo_new_sub_path(context);
  cairo_arc(context, 0, 0, radius, 0, 2 * std::numbers::pi);
}

void heart(cairo_t* context) {
  cairo_move_to(context, 0, 0.46);
  cairo_curve_to(context, -0.72, -0.05, -0.42, -0.62, 0, -0.24);
  cairo_curve_to(context, 0.42, -0.62, 0.72, -0.05, 0, 0.46);
  cairo_close_path(context);
}

void outline(cairo_t* context, Shape shape) {
  switch (shape) {
    case Shape::Circle:
      return circle(context, 0.48);
    case Shape::Square:
      return cairo_rectangle(context, -0.41, -0.41, 0.82, 0.82);
    case Shape::Triangle:
      cairo_translate(context, 0, 0.09);  // the centre of its bounding box, not of its corners
      return polygon(context, 3, 0.54, 0);
    case Shape::Star:
      return polygon(context, 5, 0.5, 0.2);
    case Shape::Cross:
      cairo_rectangle(context, -0.15, -0.47, 0.3, 0.94);
      return cairo_rectangle(context, -0.47, -0.15, 0.94, 0.3);
    case Shape::Heart:
      return heart(context);
    case Shape::Ring:
      cairo_set_fill_rule(context, CAIRO_FILL_RULE_EVEN_ODD);
      circle(context, 0.48);
      return circle(context, 0.27);
    case Shape::Diamond:
      cairo_scale(context, 0.72, 1);
      return polygon(context, 4, 0.5, 0);
  }
}

void draw(cairo_t* context, const Scene& scene, const Object& object) {
  cairo_save(context);
  const auto shorter = static_cast<double>(std::min(scene.width, scene.height));
  cairo_translate(context, object.x * static_cast<double>(scene.width), object.y * static_cast<double>(scene.height));
  cairo_scale(context, object.diameter * shorter, object.diameter * shorter);
  cairo_rotate(context, object.turn);
  outline(context, object.shape);
  set_paint(context, object.paint);
  cairo_fill(context);
  cairo_restore(context);
}

void draw(cairo_t* context, const Scene& scene, const Ground& ground) {
  set_paint(context, ground.base);
  cairo_paint(context);
  const auto shorter = static_cast<double>(std::min(scene.width, scene.height));
  const double reach = static_cast<double>(scene.width + scene.height);  // beyond every corner, at any angle
  cairo_save(context);
  cairo_translate(context, static_cast<double>(scene.width) / 2, static_cast<double>(scene.height) / 2);
  cairo_rotate(context, ground.angle);
  set_paint(context, ground.other);
  switch (ground.kind) {
    case GroundKind::Noise:
      break;
    case GroundKind::Gradient: {
      const Pattern gradient(cairo_pattern_create_linear(-shorter / 2, 0, shorter / 2, 0));
      cairo_pattern_add_color_stop_rgb(gradient.get(), 0, ground.base.red, ground.base.green, ground.base.blue);
      cairo_pattern_add_color_stop_rgb(gradient.get(), 1, ground.other.red, ground.other.green, ground.other.blue);
      cairo_set_source(context, gradient.get());
      cairo_paint(context);
      break;
    }
    case GroundKind::Stripes: {
      const double period = ground.period * shorter;
      for (double x = -reach; x < reach; x += period) cairo_rectangle(context, x, -reach, period / 2, 2 * reach);
      cairo_fill(context);
      break;
    }
    case GroundKind::Blotches: {
      Random random(key(ground.grain_key, 1));
      for (int i = 0; i < 40; ++i) {
        cairo_new_sub_path(context);
        cairo_arc(context, (random.uniform() - 0.5) * reach, (random.uniform() - 0.5) * reach,
                  ground.period * shorter * random.uniform(), 0, 2 * std::numbers::pi);
      }
      cairo_fill(context);
      break;
    }
  }
  cairo_restore(context);
}

void add_grain(cairo_surface_t* surface, std::uint64_t grain_key) {
  cairo_surface_flush(surface);
  unsigned char* pixels = cairo_image_surface_get_data(surface);
  const int width = cairo_image_surface_get_width(surface), stride = cairo_image_surface_get_stride(surface);
  Random random(grain_key);
  for (int y = 0; y < cairo_image_surface_get_height(surface); ++y) {
    for (int x = 0; x < width; ++x) {
      unsigned char* pixel = pixels + y * stride + 4 * x;
      const int grain = static_cast<int>(std::lround((2 * random.uniform() - 1) * kGrain));
      for (int channel = 0; channel < 3; ++channel) {
        pixel[channel] = static_cast<unsigned char>(std::clamp(pixel[channel] + grain, 0, 255));
      }
    }
  }
  cairo_surface_mark_dirty(surface);
}

std::vector<std::uint8_t> encode_jpeg(cairo_surface_t* surface) {
  const Compressor compressor(tjInitCompress());
  PB_CHECK(compressor, "libjpeg-turbo: {}", tjGetErrorStr());
  unsigned char* buffer = nullptr;
  unsigned long bytes = 0;
  const int status =
      tjCompress2(compressor.get(), cairo_image_surface_get_data(surface), cairo_image_surface_get_width(surface),
                  cairo_image_surface_get_stride(surface), cairo_image_surface_get_height(surface),
                  TJPF_BGRX,  // CAIRO_FORMAT_RGB24 on a little-endian machine
                  &buffer, &bytes, TJSAMP_444, kQuality, TJFLAG_ACCURATEDCT);
  const Encoded encoded(buffer);
  PB_CHECK(status == 0, "libjpeg-turbo: {}", tjGetErrorStr2(compressor.get()));
  return {buffer, buffer + bytes};
}

}  // namespace

std::vector<std::uint8_t> render_jpeg(const Scene& scene) {
  const Surface surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(scene.width), static_cast<int>(scene.height)));
  const Context context(cairo_create(surface.get()));
  cairo_set_antialias(context.get(), CAIRO_ANTIALIAS_BEST);
  draw(context.get(), scene, scene.ground);
  add_grain(surface.get(), scene.ground.grain_key);
  for (const Object& object : scene.objects) draw(context.get(), scene, object);
  const cairo_status_t status = cairo_status(context.get());
  PB_CHECK(status == CAIRO_STATUS_SUCCESS, "cairo could not draw a scene of {} x {}: {}", scene.width, scene.height,
           cairo_status_to_string(status));
  cairo_surface_flush(surface.get());
  return encode_jpeg(surface.get());
}

}  // namespace pixelbert::scenes
