#include "scenes/questions.h"

#include <array>
#include <set>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "core/rng.h"
#include "scenes/captions.h"
#include "scenes/claims.h"

namespace pixelbert::scenes {
namespace {

// Asks for the slot that the form leaves out, or, if the form contains one of `slots`, whether it is so.
struct Kind {
  std::string_view form;
  std::string_view slots;
  std::int64_t level = 1;  // the lowest with this question
};

constexpr Kind kKinds[] = {
    {"what color is the {s} ?", "c"},
    {"what color is the {z} {s} ?", "c"},
    {"what color is the object {p} ?", "c"},
    {"what shape is the {c} object ?", "s"},
    {"what shape is the {z} {c} object ?", "s"},
    {"what shape is the object {p} ?", "s"},
    {"what size is the {c} {s} ?", "z"},
    {"what size is the {s} ?", "z"},
    {"what size is the object {p} ?", "z"},
    {"where is the {c} {s} ?", "p"},
    {"where is the {z} {c} object ?", "p"},
    {"is the {s} {c} ?", "c"},
    {"is the {c} object a {s} ?", "s"},
    {"is the {c} {s} {z} ?", "z"},
    {"is the {c} {s} {p} ?", "p"},
    {"is there a {z} {c} {s} ?", "zcs"},
    {"is there a {c} {s} {p} ?", "csp"},
    {"how many objects are there ?", "n", 2},
    {"are there {n} objects ?", "n", 2},
    {"is there a {c} {s} and a {C} {S} ?", "csCS", 2},
    {"is the {c} {s} {r} the {C} {S} ?", "r", 3},
    {"is there a {c} {s} {r} the {C} {S} ?", "csr", 3},
};

constexpr auto kForms = [] {
  std::array<std::string_view, std::size(kKinds)> forms;
  for (std::size_t i = 0; i < forms.size(); ++i) forms[i] = kKinds[i].form;
  return forms;
}();

// Whether "the" object is unique without knowing `asked`. Colour and shape together always are.
bool is_definite(const Claim& claim, const Scene& scene, char asked) {
  const bool about_one = claim.form.find(" the ") != std::string_view::npos && !names(claim.form, 'r');
  return !about_one || witnesses(claim, scene, asked) == 1;
}

Question ask(const Kind& kind, const Claim& claim, const Scene& scene, Random& random) {
  const char asked = kind.slots.front();
  if (!names(kind.form, asked)) {
    return {say(claim), std::string(asked == 'p' ? kPlaceNames[claim.a.place] : word(claim, asked))};
  }
  if (random.below(2) == 0) return {say(claim), "yes"};
  return {say(falsified(claim, scene, kind.slots, random)), "no"};
}

}  // namespace

std::vector<Question> questions(const Scene& scene, std::int64_t level, std::int64_t count, std::uint64_t key) {
  PB_CHECK(count >= 1 && count <= kMostTexts, "expected 1 to {} questions, found {}", kMostTexts, count);
  Random random(key);
  // Each matter is asked about once: of "is the star red ?", "is the star blue ?" and so on, most answers would be no.
  std::set<std::tuple<const Kind*, std::int64_t, std::int64_t>> matters;
  std::set<std::string> texts;
  std::vector<Question> questions;
  while (static_cast<std::int64_t>(questions.size()) < count) {
    const Kind& kind = kKinds[random.below(std::size(kKinds))];
    Claim claim;
    claim.form = kind.form;
    draw_objects(claim, scene, random);
    if (kind.level > level || !is_definite(claim, scene, kind.slots.front())) continue;
    const std::int64_t second = names(kind.form, 'C') ? claim.b.place : -1;
    if (!matters.emplace(&kind, claim.a.place, second).second) continue;
    Question question = ask(kind, claim, scene, random);
    if (texts.insert(question.text).second) questions.push_back(std::move(question));
  }
  return questions;
}

const std::vector<std::string>& answers() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> words = {"yes", "no"};
    const auto add = [&](std::span<const std::string_view> some) {
      words.insert(words.end(), some.begin(), some.end());
    };
    add(kColourNames);
    add(kShapeNames);
    add(kSizeNames);
    add(kPlaceNames);
    add(kNumberNames);
    return words;
  }();
  return all;
}

std::span<const std::string_view> question_forms() {
  return kForms;
}

}  // namespace pixelbert::scenes
