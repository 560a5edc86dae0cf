// Which cells of a feature map belong to a picture, and which of them become pixel tokens. Pure arithmetic.
//
// Pictures of different sizes share a batch, padded below and to the right. The cells of a picture are those of the
// grid it would have alone, at the top left of the batch's grid; the others come from padding and never become tokens.
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

// A ResNet's output for pixels of this size: five strides of 2, each rounding up.
Grid backbone_grid(Grid pixels);

// After 2x2 pooling with stride 2, rounding down; a side of one cell stays.
Grid pooled_grid(Grid grid);

// How many pixel tokens a picture of `cells` gives: all when `wanted` is 0.
std::int64_t token_count(std::int64_t cells, std::int64_t wanted);

// `count` of the numbers 0 to `total` - 1 without repetition, ascending; every subset is equally likely over the keys.
std::vector<std::int64_t> sample_without_replacement(std::int64_t total, std::int64_t count, std::uint64_t key);

}  // namespace pixelbert::model
