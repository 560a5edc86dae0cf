// A checkpoint in memory: what it says of itself, its weights, and all that training resumes from. Each is the next
// one's first part, and can be read without the rest (checkpoint_store.h).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace pixelbert::checkpoint {

// Up to `until_step` (since the entry before) a run had so many ranks.
struct WorldSize {
  std::int64_t until_step = 0;
  std::int64_t ranks = 0;
  bool operator==(const WorldSize&) const = default;
};

// trainer.json and vocab.txt: where training is, what it trains on, and its history.
struct Description {
  std::string task = "pretrain";              // a name of data/task.h
  std::int64_t step = 0;                      // optimizer steps made or skipped
  std::int64_t samples = 0;                   // pairs seen over all ranks
  std::int64_t epoch = 0, step_in_epoch = 0;  // the next step's place
  std::map<std::string, std::string> config;  // every option, resolved
  std::vector<std::string> data;              // the data's identity, one line per folder
  std::vector<std::string> answers;           // VQA: the answer vocabulary
  nlohmann::json initial;   // where the weights came from, and what those had been trained on; null: random weights
  nlohmann::json imported;  // the files of published weights; null for a checkpoint of a training
  std::string code_version;
  std::string metrics_line;            // of the last step, as far as it was known when it was saved
  double save_seconds = 0;             // the most that a save has taken before this one
  std::vector<WorldSize> world_sizes;  // one entry per change
  std::string vocabulary;              // vocab.txt
  bool operator==(const Description&) const = default;
};

struct Weights : Description {
  NamedTensors model;
};

struct Checkpoint : Weights {
  NamedTensors optimizer;
};

// The content of trainer.json.
nlohmann::json to_json(const Description& description);

// The same back, with the content of vocab.txt. Error that begins with `where` and names the member that is missing, of
// another type or out of range, or says that it is not of `step`.
Description parse_description(const std::string& trainer, std::string vocabulary, std::int64_t step,
                              const std::string& where);

}  // namespace pixelbert::checkpoint
