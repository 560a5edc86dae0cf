// What is said about a scene: captions, questions with answers, statements about two pictures.
//
// Each is drawn by key, so that a scene always gets the same texts. Wherever an answer has two or more candidates, the
// words of the text are as likely with one as with the other: a text alone does not give its answer away.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sources/scenes_claims.h"
#include "sources/scenes_world.h"

namespace pixelbert::sources {

// More different texts about one scene cannot be promised.
constexpr std::int64_t kMostTexts = 12;

// `count` true claims about the scene, no two in the same words. Each names two objects or at least three attributes of
// one, so that hardly a caption is true of another scene.
std::vector<Claim> captions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key);

struct Question {
  std::string text;
  std::string answer;  // one of answers()
};

// `count` different questions. A definite one ("what color is the star?") is asked only where one object fits.
std::vector<Question> questions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key);

// Every answer there is, the same for all levels and seeds; the position is the index in a record.
const std::vector<std::string>& answers();

// What two pictures have in common is settled by coin, so that statements about it are true half of the time. Level 1:
// colour, shape and size, each by a coin of its own; else whether an object of one colour and shape is in both.
bool share(const Scene& left, const Scene& right, char slot);  // c s z

struct Statement {
  std::string text;
  bool is_true = false;
};

// The right picture that goes with `left`, of the same level and size.
Scene make_right_scene(const Scene& left, std::int64_t level, std::int64_t size, std::uint64_t key);

std::vector<Statement> statements(const Scene& left, const Scene& right, std::int64_t level, std::int64_t count,
                                  std::uint64_t key);

// The special tokens and every word of every text, the same for all levels, tasks and seeds.
std::vector<std::string> vocabulary();

}  // namespace pixelbert::sources
