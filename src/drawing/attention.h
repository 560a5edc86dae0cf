// Which pixels each word looks at, as a picture and as a page to point at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pixelbert::drawing {

struct AttentionMaps {
  std::string encoded;      // the picture's file, JPEG or PNG
  std::int64_t height = 0;  // of the resized picture
  std::int64_t width = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]

  std::vector<std::string> words;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t rows = 0;  // of the pixel grid
  std::int64_t columns = 0;
  std::int64_t cell = 0;       // height and width of a cell in pixels of the resized picture
  std::vector<float> weights;  // [layers, heads, words, rows, columns]: shares of a word's attention
};

constexpr std::int64_t kMean = -1;  // over all layers, or all heads

// [rows, columns] of one word.
std::vector<float> attention_of(const AttentionMaps& maps, std::int64_t word, std::int64_t layer, std::int64_t head);

// A PNG file: one copy of the picture per word, bright where the word looks, with the word below.
std::string attention_picture(const AttentionMaps& maps, std::int64_t layer, std::int64_t head);

// One HTML file without outside references: the picture, its words to point at, and a choice of layer and head.
std::string attention_page(const AttentionMaps& maps);

}  // namespace pixelbert::drawing
