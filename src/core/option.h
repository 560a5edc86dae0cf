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

#include <array>
#include <cstddef>
#include <string_view>

namespace pixelbert {

// Says whether a resumed run may change the option. Free: it changes how long or where the run computes, not what a
// step learns.
enum class OnResume { Same, Free };

template <class Enum>
constexpr std::string_view name_of(Enum value) {
  return names(value)[static_cast<std::size_t>(value)];
}

}  // namespace pixelbert
