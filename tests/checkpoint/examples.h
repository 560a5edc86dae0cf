// A small checkpoint whose every value follows from its step.
#pragma once

#include <ATen/ATen.h>

#include "checkpoint/checkpoint_store.h"

namespace pixelbert::checkpoint {

inline Checkpoint example(std::int64_t step) {
  const auto value = static_cast<double>(step);
  return {.step = step,
          .model = {{"backbone.conv1.weight", at::full({8, 3, 7, 7}, value)}, {"itm.bias", at::full({1}, value)}},
          .optimizer = {{"itm.bias.exp_avg", at::full({1}, -value)}, {"itm.bias.step", at::full({}, value)}},
          .trainer = {{"step", step},
                      {"samples", 32 * step},
                      {"position", {{"epoch", 0}, {"step", step}}},
                      {"config", {{"model.layers", "2"}}},
                      {"data", {"scenes"}},
                      {"world_sizes", {{{"until_step", step}, {"ranks", 2}}}}},
          .vocabulary = "[PAD]\n[UNK]\n"};
}

inline bool equal(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& left, const auto& right) {
    return left.first == right.first && left.second.equal(right.second);
  });
}

inline bool equal(const Checkpoint& a, const Checkpoint& b) {
  return a.step == b.step && equal(a.model, b.model) && equal(a.optimizer, b.optimizer) && a.trainer == b.trainer &&
         a.vocabulary == b.vocabulary;
}

}  // namespace pixelbert::checkpoint
