// Draws which pixels each word attends to, as an image and as an interactive page.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pixelbert::drawing {

struct AttentionMaps {
  std::string encoded;      // the image's file, JPEG or PNG
  std::int64_t height = 0;  // of the resized image
  std::int64_t width = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]

  std::vector<std::string> words;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t rows = 0;  // of the pixel grid
  std::int64_t columns = 0;
  std::int64_t cell = 0;       // height and width of a cell in pixels of the resized image
  std::vector<float> weights;  // [layers, heads, words, rows, columns]: shares of a word's attention
};

constexpr std::int64_t kMean = -1;  // over all layers, or all heads

// Returns the attention of one word, [rows, columns].
std::vector<float> attention_of(const AttentionMaps& maps, std::int64_t word, std::int64_t layer, std::int64_t head);

// Returns a PNG file: one copy of the image per word, bright where the word attends, with the word below.
std::string attention_png(const AttentionMaps& maps, std::int64_t layer, std::int64_t head);

// Returns a self-contained HTML file: the image, words to point at, and a choice of layer and head.
std::string attention_page(const AttentionMaps& maps);

}  // namespace pixelbert::drawing
