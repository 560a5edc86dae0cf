// Statements about two images, true or false, as in NLVR2.
//
// Each is true half of the time, and its words are equally likely either way.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scenes/world.h"

namespace pixelbert::scenes {

// Whether an object of one scene and an object of the other agree in all of the slots (c s z).
bool share(const Scene& left, const Scene& right, std::string_view slots);

// Makes the right scene for `left`, of the same level and size. Coins decide what the two share, because independent
// scenes rarely share anything: at level 1 one coin each for colour, shape and size; above it, one for whether both
// have an object of the same colour and shape.
Scene make_right_scene(const Scene& left, std::int64_t level, std::int64_t size, std::uint64_t key);

struct Statement {
  std::string text;
  bool is_true = false;
};

// Returns `count` different statements, at most kMostTexts; the same for the same key.
std::vector<Statement> statements(const Scene& left, const Scene& right, std::int64_t level, std::int64_t count,
                                  std::uint64_t key);

std::span<const std::string_view> statement_forms();

}  // namespace pixelbert::scenes
