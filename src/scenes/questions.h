// Questions about a scene, as in VQA.
//
// Whatever the answer, the words of a question are as likely: who does not see the picture can only guess.
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

// `count` different questions, at most kMostTexts; the same for the same key. A definite one ("what color is the
// star ?") is asked only where one object fits.
std::vector<Question> questions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key);

// Every answer there is, the same for all levels and seeds; the position is the index in a record.
const std::vector<std::string>& answers();

std::span<const std::string_view> question_forms();

}  // namespace pixelbert::scenes
