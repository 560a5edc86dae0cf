// Statements about two pictures, true or false, as in NLVR2.
//
// Each is true half of the time, and its words are as likely either way.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scenes/world.h"

namespace pixelbert::scenes {

// Whether an object of one scene and an object of the other are the same in all of the slots (c s z).
bool share(const Scene& left, const Scene& right, std::string_view slots);

// The right picture that goes with `left`, of the same level and size. What the two share is settled by coin, or they
// would hardly share a thing: colour, shape and size at level 1, each by a coin of its own; above, whether an object of
// one colour and shape is in both.
Scene make_right_scene(const Scene& left, std::int64_t level, std::int64_t size, std::uint64_t key);

struct Statement {
  std::string text;
  bool is_true = false;
};

// `count` different statements, at most kMostTexts; the same for the same key.
std::vector<Statement> statements(const Scene& left, const Scene& right, std::int64_t level, std::int64_t count,
                                  std::uint64_t key);

std::span<const std::string_view> statement_forms();

}  // namespace pixelbert::scenes
