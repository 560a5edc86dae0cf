// Chooses the pairs of a micro-batch that become negatives (image-text matching).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "data/sample.h"

namespace pixelbert::data {

// Draws with `key` a pair whose text may be a negative for the image of sample `index`; nothing when the draw gives
// none.
using DrawNegative = std::function<std::optional<Sample>(std::int64_t index, std::uint64_t key)>;

// Makes half of the samples (of an odd number one more or less), chosen by `key`, negatives: gives them a text of
// another image and with other words, because many images share a caption ("a man on a surfboard"). A sample for which
// 16 draws find none stays matched; that takes data with hardly more than one image or one sentence.
void choose_pairs(std::vector<Sample>& samples, const DrawNegative& draw_negative, std::uint64_t key);

}  // namespace pixelbert::data
