// Attributes of an option in the describe() beneath its struct, besides name, value and help.
//
//   template <class Field>
//   void describe(OptimConfig& config, Field&& field) {
//     field("optim.backbone-rate", config.backbone_rate, "learning rate of the CNN");
//   }
//
// An enumeration is an option when names() gives its values' names, in their order:
//
//   enum class Precision { Float32, Bf16 };
//   constexpr auto names(Precision) { return std::to_array<std::string_view>({"float32", "bf16"}); }
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace pixelbert {

// Says whether a resumed run may change the option. Free: it changes how long or where the run computes, not what a
// step learns.
enum class OnResume { Same, Free };

// Options that had another name in earlier versions, whose command lines, configuration files and checkpoints still
// have it.
struct RenamedOption {
  std::string_view before, now;
};
inline constexpr RenamedOption kRenamedOptions[] = {
    {"retrieval.foreign-texts", "retrieval.negatives"},
    {"retrieval.hard-texts", "retrieval.hard-negatives"},
};

constexpr std::string_view current_name(std::string_view name) {
  for (const auto& [before, now] : kRenamedOptions) {
    if (name == before) return now;
  }
  return name;
}

template <class Enum>
constexpr std::string_view name_of(Enum value) {
  return names(value)[static_cast<std::size_t>(value)];
}

// Returns nothing for another name.
template <class Enum>
constexpr std::optional<Enum> value_of(std::string_view name) {
  constexpr auto kNames = names(Enum());
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Enum>(found - kNames.begin());
}

}  // namespace pixelbert
