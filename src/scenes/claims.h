// A claim about a scene: words to say it in, and whether it is true of a scene.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/rng.h"
#include "scenes/world.h"

namespace pixelbert::scenes {

// What a form may name, as {letter}:
//   z c s p   size, colour, shape and place of an object a
//   Z C S P   the same of another object b
//   r         how a stands to b
//   n         how many objects there are
// So the form says all: "the {c} {s} is {r} a {S}" claims that some a of that colour and shape is so related to some b
// of that shape.
struct Claim {
  std::string_view form;
  Object a, b;
  Relation relation{};
  std::int64_t count = 0;
};

bool names(std::string_view form, char slot);

// Whether two objects are the same in what a slot of a (z c s p) names.
bool alike(const Object& one, const Object& other, char slot);

// Makes the claim about two different objects of the scene (one, when there is no more) as they are: a relation is one
// of those in which they stand, each as likely as another.
void draw_objects(Claim& claim, const Scene& scene, Random& random);

// Puts another value into a slot, each as likely as another; a relation is turned into its opposite.
void change(Claim& claim, char slot, Random& random);

// The words of a slot: "red", "at the top left", "larger than", "three".
std::string_view word(const Claim& claim, char slot);

std::string say(const Claim& claim);

// The objects of the scene that are as the claim has a, with the slot `ignored` left out of account.
std::int64_t witnesses(const Claim& claim, const Scene& scene, char ignored = 0);

// A claim without {n} holds when it has a witness.
bool holds(const Claim& claim, const Scene& scene);

// The claim with one of `slots` changed so that it does not hold. Two objects stay two: "a red star and a red star"
// would give itself away.
Claim falsified(const Claim& claim, const Scene& scene, std::string_view slots, Random& random);

constexpr std::string_view kShapeNames[] = {"circle", "square", "triangle", "star",
                                            "cross",  "heart",  "ring",     "diamond"};
constexpr std::string_view kColourNames[] = {"red", "yellow", "green", "cyan", "blue", "purple", "white", "black"};
constexpr std::string_view kSizeNames[] = {"small", "medium", "large"};
constexpr std::string_view kPlaceNames[] = {"top left", "top",         "top right", "left",        "middle",
                                            "right",    "bottom left", "bottom",    "bottom right"};
constexpr std::string_view kPlacePhrases[] = {"at the top left",    "at the top",    "at the top right",
                                              "on the left",        "in the middle", "on the right",
                                              "at the bottom left", "at the bottom", "at the bottom right"};
constexpr std::string_view kRelationNames[] = {"left of", "right of", "above", "below", "larger than", "smaller than"};
constexpr std::string_view kNumberNames[] = {"zero", "one", "two", "three", "four"};

}  // namespace pixelbert::scenes
