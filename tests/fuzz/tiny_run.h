// A run that is small enough to be saved and restored thousands of times a minute.
#pragma once

#include <ATen/ops/full.h>

#include <filesystem>

#include "comm/solo_communicator.h"
#include "train/checkpointer.h"

namespace pixelbert::fuzz {

inline checkpoint::Checkpoint tiny_run() {
  checkpoint::Checkpoint run;
  run.step = 3;
  run.samples = 12;
  run.epoch = run.step_in_epoch = 1;
  run.model = {{"itm.bias", at::full({2}, 0.5)}};
  run.optimizer = {{"itm.bias.exp_avg", at::full({2}, 0.25)}};
  run.metrics_line = R"({"step":3,"loss":0.5})";
  run.config = {{"model.layers", "2"}, {"optim.milestones", "25,35"}, {"run.dir", "runs/tiny"}};
  run.data = {"scenes 8 images 12 texts 01234567"};
  run.vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n";
  run.code_version = "0.1.0";
  run.task = "vqa";
  run.answers = {"yes", "no"};
  run.world_sizes = {{.until_step = 3, .ranks = 1}};
  run.initial = {{"path", "runs/other"}, {"step", 100}};
  return run;
}

}  // namespace pixelbert::fuzz
