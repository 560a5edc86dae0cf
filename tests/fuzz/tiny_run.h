// A run that is small enough to be saved and restored thousands of times a minute.
#pragma once

#include <ATen/ops/full.h>

#include <filesystem>

#include "comm/solo_communicator.h"
#include "train/checkpointer.h"

namespace pixelbert::fuzz {

inline train::State tiny_state() {
  train::State state;
  state.step = 3;
  state.samples = 12;
  state.at = {.epoch = 1, .step = 1};
  state.model = {{"itm.bias", at::full({2}, 0.5)}};
  state.optimizer = {{"itm.bias.exp_avg", at::full({2}, 0.25)}};
  state.metrics_line = R"({"step":3,"loss":0.5})";
  return state;
}

inline train::Provenance tiny_provenance() {
  return {.config = {{"model.layers", "2"}, {"optim.milestones", "25,35"}, {"run.dir", "runs/tiny"}},
          .data_identity = {"scenes 8 images 12 texts 01234567"},
          .vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n",
          .code_version = "0.1.0",
          .task = "vqa",
          .answers = {"yes", "no"},
          .initial = {{"path", "runs/other"}, {"step", 100}}};
}

}  // namespace pixelbert::fuzz
