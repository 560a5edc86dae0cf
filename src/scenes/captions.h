// What is true of a scene.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "scenes/claims.h"
#include "scenes/world.h"

namespace pixelbert::scenes {

// More different texts about one scene cannot be promised.
constexpr std::int64_t kMostTexts = 12;

// `count` true claims about the scene, no two in the same words; the same for the same key. Each names three attributes
// or more, so that hardly a caption is true of another scene: 0.2 % at level 1, 0.4 % at level 2, 0.3 % at level 3.
//
// They do not count: counting would tell a foreign caption without a look at shapes and colours.
std::vector<Claim> captions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key);

std::span<const std::string_view> caption_forms();

}  // namespace pixelbert::scenes
