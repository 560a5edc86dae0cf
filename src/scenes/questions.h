// Questions about a scene, as in VQA.
//
// The words of a question are equally likely for every answer: without the image one can only guess.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scenes/world.h"

namespace pixelbert::scenes {

struct Question {
  std::string text;
  std::string answer;  // one of answers()
};

// Returns `count` different questions, at most kMostTexts; the same for the same key. Asks a definite one ("what color
// is the star ?") only if one object fits.
std::vector<Question> questions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key);

// Returns all answers, the same for all levels and seeds; an answer's position is its index in a record.
const std::vector<std::string>& answers();

std::span<const std::string_view> question_forms();

}  // namespace pixelbert::scenes
