// The way of a run to the disk and back, on all ranks. What the folder looks like is checkpoint/checkpoint_store's;
// nothing in it depends on the number of ranks.
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
  // `free_on_resume`: the options that may change from one job of a run to the next (core/option.h). `control` carries
  // texts and CPU tensors, `tensors` those of the model's device.
  Checkpointer(std::filesystem::path folder, const CheckpointConfig& config, std::set<std::string> free_on_resume,
               comm::Communicator& control, comm::Communicator& tensors);

  // Whether this rank wants a checkpoint after `step`, by number or by time; ranks may differ about the time.
  bool due(std::int64_t step) const;

  // Collective. Checks that all ranks hold the same weights, then rank 0 writes the folder; no rank returns before it
  // is whole. Notes ranks and seconds in `run`, and returns the seconds. SharedError when the ranks' weights differ or
  // are not finite.
  double save(checkpoint::Checkpoint& run);

  // Collective. Fills `run`, whose tensors belong to model and optimizer, from the newest checkpoint that is whole,
  // read by rank 0 and sent to the others, so that only rank 0 needs the file system. False when there never was one
  // (checkpoint::load). UsageError when `run` differs in the task, the data or an option that decides what is learned.
  bool restore_latest(checkpoint::Checkpoint& run);

 private:
  void check_replicas_agree(const checkpoint::Checkpoint& run);

  std::filesystem::path folder_;
  CheckpointConfig config_;
  std::set<std::string> free_on_resume_;
  comm::Communicator& control_;
  comm::Communicator& tensors_;
  std::chrono::steady_clock::time_point last_save_ = std::chrono::steady_clock::now();
};

}  // namespace pixelbert::train
