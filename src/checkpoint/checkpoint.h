// A checkpoint in memory.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/safetensors.h"

namespace pixelbert::checkpoint {

struct Checkpoint {
  std::int64_t step = 0;
  NamedTensors model;
  NamedTensors optimizer;  // empty where training has not begun or is not to go on
  nlohmann::json trainer;  // position, configuration, history: checkpoint/trainer_state.h
  std::string vocabulary;  // vocab.txt
};

}  // namespace pixelbert::checkpoint
