// A checkpoint in memory: its description, its weights, and all that training resumes from. Each of the three contains
// the one before and can be read without the rest (checkpoint_store.h).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace pixelbert::checkpoint {

// The number of ranks of a run from the entry before up to `until_step`.
struct WorldSize {
  std::int64_t until_step = 0;
  std::int64_t ranks = 0;
  bool operator==(const WorldSize&) const = default;
};

// trainer.json and vocab.txt: where training is, what it trains on, and its history.
struct Description {
  std::string task = "pretrain";              // a name of tasks/task.h
  std::int64_t step = 0;                      // optimizer steps made or skipped
  std::int64_t samples = 0;                   // pairs seen over all ranks
  std::int64_t epoch = 0, step_in_epoch = 0;  // the next step's place
  std::map<std::string, std::string> config;  // every option, resolved
  std::vector<std::string> data;              // the data's identity, one line per folder
  std::vector<std::string> answers;           // VQA: the answer vocabulary
  nlohmann::json initial;   // the checkpoint that training started from, and its data; null: random weights
  nlohmann::json imported;  // the files of published weights; null for a checkpoint of a training
  std::string code_version;
  std::map<std::string, std::string> numerics;  // train/numerics.h; empty in older checkpoints
  std::string metrics_line;                     // of the last step, as far as known at the save
  double save_seconds = 0;                      // the longest save before this one
  std::int64_t skipped_in_a_row = 0;            // steps without an update, up to this one
  std::vector<WorldSize> world_sizes;           // one entry per change
  std::string vocabulary;                       // vocab.txt
  bool operator==(const Description&) const = default;
};

struct Weights : Description {
  NamedTensors model;
};

struct Checkpoint : Weights {
  NamedTensors optimizer;
};

// Returns the content of trainer.json.
nlohmann::json to_json(const Description& description);

// Parses that content; adds the content of vocab.txt. Throws Error beginning with `where` and naming the member that is
// missing, of another type or out of range, or if the description is not of `step`.
Description parse_description(const std::string& trainer, std::string vocabulary, std::int64_t step,
                              const std::string& where);

}  // namespace pixelbert::checkpoint
