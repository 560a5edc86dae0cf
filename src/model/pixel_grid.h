// The cells of a feature map that belong to an image, and those that become pixel tokens. Pure arithmetic.
//
// Images of different sizes share a batch, padded below and to the right. An image has the cells of the grid it would
// have alone, at the top left of the batch's grid; the others come from padding and never become tokens.
#pragma once

#include <cstdint>
#include <vector>

namespace pixelbert::model {

struct Grid {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t cells() const { return height * width; }
  bool operator==(const Grid&) const = default;
};

// Returns the grid of a ResNet's output for pixels of this size: five strides of 2, each rounding up.
Grid backbone_grid(Grid pixels);

// Returns the grid after 2x2 pooling with stride 2, rounding down; a side of one cell stays.
Grid pooled_grid(Grid grid);

// Returns the number of pixel tokens of an image with `cells` cells: all if `wanted` is 0.
std::int64_t token_count(std::int64_t cells, std::int64_t wanted);

// Returns `count` of the numbers 0 to `total` - 1, ascending, without repetition; every subset is equally likely over
// the keys.
std::vector<std::int64_t> sample_without_replacement(std::int64_t total, std::int64_t count, std::uint64_t key);

}  // namespace pixelbert::model
