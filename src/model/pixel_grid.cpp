#include "model/pixel_grid.h"

#include <algorithm>

#include "core/rng.h"

namespace pixelbert::model {

Grid backbone_grid(Grid pixels) {
  return {(pixels.height + 31) / 32, (pixels.width + 31) / 32};
}

Grid pooled_grid(Grid grid) {
  return {std::max<std::int64_t>(grid.height / 2, 1), std::max<std::int64_t>(grid.width / 2, 1)};
}

std::int64_t token_count(std::int64_t cells, std::int64_t wanted) {
  return wanted == 0 ? cells : std::min(cells, wanted);
}

std::vector<std::int64_t> sample_without_replacement(std::int64_t total, std::int64_t count, std::uint64_t key) {
  // Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): the result is ascending without sorting.
  std::vector<std::int64_t> chosen;
  chosen.reserve(static_cast<std::size_t>(count));
  Random random(key);
  for (std::int64_t i = 0; i < total && count > 0; ++i) {
    if (random.below(static_cast<std::uint64_t>(total - i)) >= static_cast<std::uint64_t>(count)) continue;
    chosen.push_back(i);
    --count;
  }
  return chosen;
}

}  // namespace pixelbert::model
