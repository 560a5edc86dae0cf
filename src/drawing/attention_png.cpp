#include <cairo.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/unique_handle.h"
#include "drawing/attention.h"

namespace pixelbert::drawing {
namespace {

constexpr double kPanel = 240;  // width of one copy of the image
constexpr double kGap = 12;
constexpr double kCaption = 28;
constexpr std::int64_t kPanelsPerRow = 6;

using Surface = UniqueHandle<PointerTraits<cairo_surface_t, cairo_surface_destroy>>;
using Context = UniqueHandle<PointerTraits<cairo_t, cairo_destroy>>;

std::uint32_t* row_of(cairo_surface_t* surface, std::int64_t row) {
  return reinterpret_cast<std::uint32_t*>(cairo_image_surface_get_data(surface) +
                                          row * cairo_image_surface_get_stride(surface));
}

Surface image_surface(const AttentionMaps& maps) {
  Surface surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(maps.width), static_cast<int>(maps.height)));
  const std::uint8_t* from = maps.rgb.data();
  for (std::int64_t y = 0; y < maps.height; ++y) {
    std::uint32_t* to = row_of(surface.get(), y);
    for (std::int64_t x = 0; x < maps.width; ++x, from += 3) *to++ = from[0] << 16 | from[1] << 8 | from[2];
  }
  cairo_surface_mark_dirty(surface.get());
  return surface;
}

// One pixel per cell: black that hides what the word does not attend to.
Surface shade_surface(const AttentionMaps& maps, const std::vector<float>& weights) {
  Surface surface(
      cairo_image_surface_create(CAIRO_FORMAT_ARGB32, static_cast<int>(maps.columns), static_cast<int>(maps.rows)));
  const float most = std::max(*std::max_element(weights.begin(), weights.end()), 1e-12f);
  for (std::int64_t y = 0; y < maps.rows; ++y) {
    std::uint32_t* to = row_of(surface.get(), y);
    for (std::int64_t x = 0; x < maps.columns; ++x) {
      const float share = weights[y * maps.columns + x] / most;
      *to++ = static_cast<std::uint32_t>(std::lround(210 * (1 - share))) << 24;
    }
  }
  cairo_surface_mark_dirty(surface.get());
  return surface;
}

void paint_scaled(cairo_t* context, cairo_surface_t* surface, double scale_x, double scale_y) {
  cairo_save(context);
  cairo_scale(context, scale_x, scale_y);
  cairo_set_source_surface(context, surface, 0, 0);
  cairo_pattern_set_extend(cairo_get_source(context), CAIRO_EXTEND_PAD);
  cairo_pattern_set_filter(cairo_get_source(context), CAIRO_FILTER_GOOD);
  cairo_paint(context);
  cairo_restore(context);
}

void draw_word(cairo_t* context, const std::string& word, double x, double y) {
  cairo_text_extents_t extents;
  cairo_text_extents(context, word.c_str(), &extents);
  cairo_move_to(context, x - extents.width / 2 - extents.x_bearing, y);
  cairo_show_text(context, word.c_str());
}

void draw_panel(cairo_t* context, const AttentionMaps& maps, cairo_surface_t* image, std::int64_t word,
                const std::vector<float>& weights) {
  const double scale = kPanel / static_cast<double>(maps.width);
  const double height = scale * static_cast<double>(maps.height);
  const Surface shade = shade_surface(maps, weights);
  cairo_save(context);
  cairo_rectangle(context, 0, 0, kPanel, height);
  cairo_clip(context);
  paint_scaled(context, image, scale, scale);
  paint_scaled(context, shade.get(), scale * static_cast<double>(maps.cell), scale * static_cast<double>(maps.cell));
  cairo_restore(context);
  cairo_set_source_rgb(context, 0, 0, 0);
  draw_word(context, maps.words[word], kPanel / 2, height + 19);
}

std::string png_of(cairo_surface_t* surface) {
  std::string png;
  const auto append = [](void* out, const unsigned char* data, unsigned int length) {
    static_cast<std::string*>(out)->append(reinterpret_cast<const char*>(data), length);
    return CAIRO_STATUS_SUCCESS;
  };
  const cairo_status_t status = cairo_surface_write_to_png_stream(surface, append, &png);
  PB_CHECK(status == CAIRO_STATUS_SUCCESS, "cairo could not write a PNG: {}", cairo_status_to_string(status));
  return png;
}

}  // namespace

std::string attention_png(const AttentionMaps& maps, std::int64_t layer, std::int64_t head) {
  const auto words = static_cast<std::int64_t>(maps.words.size());
  const std::int64_t across = std::min(words, kPanelsPerRow), down = (words + kPanelsPerRow - 1) / kPanelsPerRow;
  const double panel_height = kPanel * static_cast<double>(maps.height) / static_cast<double>(maps.width) + kCaption;
  const double width = kGap + static_cast<double>(across) * (kPanel + kGap);
  const double height = kGap + static_cast<double>(down) * (panel_height + kGap);
  const Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(std::ceil(width)),
                                                   static_cast<int>(std::ceil(height))));
  const Context context(cairo_create(surface.get()));
  cairo_set_source_rgb(context.get(), 1, 1, 1);
  cairo_paint(context.get());
  cairo_select_font_face(context.get(), "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(context.get(), 16);

  const Surface image = image_surface(maps);
  for (std::int64_t word = 0; word < words; ++word) {
    cairo_save(context.get());
    cairo_translate(context.get(), kGap + static_cast<double>(word % across) * (kPanel + kGap),
                    kGap + static_cast<double>(word / across) * (panel_height + kGap));
    draw_panel(context.get(), maps, image.get(), word, attention_of(maps, word, layer, head));
    cairo_restore(context.get());
  }
  return png_of(surface.get());
}

}  // namespace pixelbert::drawing
