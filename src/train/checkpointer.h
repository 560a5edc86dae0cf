// Saves a run and restores it, on all ranks. checkpoint/checkpoint_store defines the folder; nothing in it depends on
// the number of ranks.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "checkpoint/checkpoint_store.h"
#include "comm/communicator.h"
#include "core/option.h"
#include "core/problems.h"
#include "train/optimizer_state.h"

namespace pixelbert::train {

struct CheckpointConfig {
  std::int64_t every_steps = 1000;
  double every_minutes = 0;
  std::int64_t keep = 3;
};

template <class Field>
void describe(CheckpointConfig& config, Field&& field) {
  field("checkpoint.every-steps", config.every_steps, "save after this many steps; 0: never by steps", OnResume::Free);
  field("checkpoint.every-minutes", config.every_minutes, "save after this many minutes; 0: never by time",
        OnResume::Free);
  field("checkpoint.keep", config.keep, "newest checkpoints that are kept", OnResume::Free);
}

inline void find_problems(const CheckpointConfig& config, Problems& problems) {
  problems.at_least("checkpoint.every-steps", config.every_steps, 0);
  problems.at_least("checkpoint.keep", config.keep, 1);
  problems.require(config.every_minutes >= 0,
                   fmt::format("--checkpoint.every-minutes must be at least 0, found {}", config.every_minutes));
}

class Checkpointer {
 public:
  // `free_on_resume` names the options that a resumed run may change (core/option.h). `control` carries texts and CPU
  // tensors, `tensors` carries tensors of the model's device.
  Checkpointer(std::filesystem::path folder, const CheckpointConfig& config, std::set<std::string> free_on_resume,
               comm::Communicator& control, comm::Communicator& tensors);

  // Returns whether this rank wants a checkpoint after `step`, by number or by time; ranks may differ about the time.
  bool due(std::int64_t step) const;

  // Collective. Checks that all ranks hold the same weights. Then rank 0 writes the folder; no rank returns before it
  // is whole. The optimizer's state comes from `state`, one tensor at a time; without one, it is in `run`. Records
  // ranks and seconds in `run`, and returns the seconds. Throws SharedError if the weights differ between ranks, or if
  // they or the state are not finite.
  double save(checkpoint::Checkpoint& run, const OptimizerState* state = nullptr);

  // Collective. Fills `run`, whose weights belong to the model, from the newest checkpoint that is whole. Rank 0 reads
  // it and sends it to the others, so that only rank 0 needs the file system; the optimizer's state stays on rank 0
  // (train/optimizer_state.h). Returns false if there never was one (checkpoint::load). Throws UsageError if `run`
  // differs in task, data or an option that must stay the same.
  bool restore_latest(checkpoint::Checkpoint& run);

 private:
  void write(const checkpoint::Checkpoint& run, const OptimizerState& state);
  void check_replicas_agree(const checkpoint::Checkpoint& run);
  void check_finite(const checkpoint::Checkpoint& run, const OptimizerState* state);

  std::filesystem::path folder_;
  CheckpointConfig config_;
  std::set<std::string> free_on_resume_;
  comm::Communicator& control_;
  comm::Communicator& tensors_;
  std::chrono::steady_clock::time_point last_save_ = std::chrono::steady_clock::now();
};

}  // namespace pixelbert::train
