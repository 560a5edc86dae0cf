// Which pairs of a micro-batch get a text of another image (image-text matching).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "data/sample.h"

namespace pixelbert::data {

// A pair whose text may stand beside the image of sample `index`, drawn by `key`, with its text; nothing when this draw
// gave none.
using DrawForeign = std::function<std::optional<Sample>(std::int64_t index, std::uint64_t key)>;

// Gives half of the samples (of an odd number the smaller or the greater part), chosen by `key`, a foreign text: of
// another image and with other words, because many pictures share a caption ("a man on a surfboard"). A sample for
// which 16 draws find none stays matched; that takes data of next to one image or one sentence.
void choose_pairs(std::vector<Sample>& samples, const DrawForeign& draw_foreign, std::uint64_t key);

}  // namespace pixelbert::data
