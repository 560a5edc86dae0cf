// A small checkpoint whose values all follow from its step.
#pragma once

#include <ATen/ATen.h>

#include "checkpoint/checkpoint_store.h"

namespace pixelbert::checkpoint {

inline Checkpoint example(std::int64_t step) {
  const auto value = static_cast<double>(step);
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.samples = 32 * step;
  checkpoint.step_in_epoch = step;
  checkpoint.config = {{"model.layers", "2"}};
  checkpoint.data = {"scenes"};
  checkpoint.world_sizes = {{.until_step = step, .ranks = 2}};
  checkpoint.vocabulary = "[PAD]\n[UNK]\n";
  checkpoint.model = {{"backbone.conv1.weight", at::full({8, 3, 7, 7}, value)}, {"itm.bias", at::full({1}, value)}};
  checkpoint.optimizer = {{"itm.bias.exp_avg", at::full({1}, -value)}, {"itm.bias.step", at::full({}, value)}};
  return checkpoint;
}

inline bool equal(const NamedTensors& a, const NamedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& left, const auto& right) {
    return left.first == right.first && left.second.equal(right.second);
  });
}

inline bool equal(const Weights& a, const Weights& b) {
  return static_cast<const Description&>(a) == b && equal(a.model, b.model);
}

inline bool equal(const Checkpoint& a, const Checkpoint& b) {
  return equal(static_cast<const Weights&>(a), b) && equal(a.optimizer, b.optimizer);
}

}  // namespace pixelbert::checkpoint
