#include "drawing/attention.h"

#include <algorithm>

#include "core/check.h"

namespace pixelbert::drawing {

std::vector<float> attention_of(const AttentionMaps& maps, std::int64_t word, std::int64_t layer, std::int64_t head) {
  const auto words = static_cast<std::int64_t>(maps.words.size());
  const std::int64_t cells = maps.rows * maps.columns;
  PB_CHECK(word >= 0 && word < words && layer >= kMean && layer < maps.layers && head >= kMean && head < maps.heads,
           "there is no attention of word {} in layer {}, head {}", word, layer, head);
  const std::int64_t first_layer = std::max<std::int64_t>(layer, 0), first_head = std::max<std::int64_t>(head, 0);
  const std::int64_t layers = layer == kMean ? maps.layers : 1, heads = head == kMean ? maps.heads : 1;

  std::vector<float> mean(static_cast<std::size_t>(cells));
  for (std::int64_t l = first_layer; l < first_layer + layers; ++l) {
    for (std::int64_t h = first_head; h < first_head + heads; ++h) {
      const float* from = maps.weights.data() + ((l * maps.heads + h) * words + word) * cells;
      std::transform(mean.begin(), mean.end(), from, mean.begin(),
                     [&](float sum, float weight) { return sum + weight / static_cast<float>(layers * heads); });
    }
  }
  return mean;
}

}  // namespace pixelbert::drawing
