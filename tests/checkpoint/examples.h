// A small checkpoint. Its values follow from its step and differ from their defaults and from each other, so that a
// test notices one that is forgotten or exchanged. Only imported weights have `imported`.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "checkpoint/checkpoint_store.h"

namespace pixelbert::checkpoint {

inline Checkpoint example(std::int64_t step) {
  const auto value = static_cast<double>(step);
  const std::string number = std::to_string(step);
  Checkpoint checkpoint;
  checkpoint.task = "vqa";
  checkpoint.step = step;
  checkpoint.samples = 32 * step + 8;
  checkpoint.epoch = step + 1;
  checkpoint.step_in_epoch = step + 2;
  checkpoint.config = {{"model.layers", "2"}};
  checkpoint.data = {"scenes"};
  checkpoint.answers = {"yes", "no", number};
  checkpoint.initial = {{"checkpoint", "runs/first"}, {"step", step + 4}};
  checkpoint.code_version = "version " + number;
  checkpoint.numerics = {{"cpu", "digest " + number}};
  checkpoint.metrics_line = "{\"step\":" + number + "}";
  checkpoint.save_seconds = value + 0.25;
  checkpoint.skipped_in_a_row = step + 3;
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
