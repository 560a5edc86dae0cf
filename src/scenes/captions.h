// True captions of a scene.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "scenes/claims.h"
#include "scenes/world.h"

namespace pixelbert::scenes {

// Not every scene has more different texts.
constexpr std::int64_t kMostTexts = 12;

// Returns `count` true claims about the scene, no two in the same words; the same for the same key. Each names three or
// more attributes, so that few captions are true of another scene: 0.2 % at level 1, 0.4 % at level 2, 0.3 % at level
// 3.
//
// None counts objects: a count would reveal a negative without a look at shapes and colours.
std::vector<Claim> captions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key);

std::span<const std::string_view> caption_forms();

}  // namespace pixelbert::scenes
