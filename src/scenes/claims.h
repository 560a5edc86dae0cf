// A claim about a scene: its wording, and whether it is true.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/rng.h"
#include "scenes/world.h"

namespace pixelbert::scenes {

// The slots of a form, written as {letter}:
//   z c s p   size, colour, shape and place of an object a
//   Z C S P   the same of another object b
//   r         how a relates to b
//   n         how many objects there are
// The form defines the claim: "the {c} {s} is {r} a {S}" claims that some a of that colour and shape has that relation
// to some b of that shape.
struct Claim {
  std::string_view form;
  Object a, b;
  Relation relation{};
  std::int64_t count = 0;
};

bool names(std::string_view form, char slot);

// Whether two objects agree in what a slot of a (z c s p) names.
bool alike(const Object& one, const Object& other, char slot);

// Makes the claim about two different objects of the scene (or its only one) as they are, with one of their relations,
// all equally likely.
void draw_objects(Claim& claim, const Scene& scene, Random& random);

// Puts another value into a slot, all equally likely; a relation becomes its opposite.
void change(Claim& claim, char slot, Random& random);

// The words of a slot: "red", "at the top left", "larger than", "three".
std::string_view word(const Claim& claim, char slot);

std::string say(const Claim& claim);

// Counts the objects of the scene that fit the claim's a when the slot `ignored` is left out.
std::int64_t witnesses(const Claim& claim, const Scene& scene, char ignored = 0);

// A claim without {n} holds when it has a witness.
bool holds(const Claim& claim, const Scene& scene);

// Returns the claim with one of `slots` changed so that it does not hold. Two objects stay different: "a red star and a
// red star" would give itself away.
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
