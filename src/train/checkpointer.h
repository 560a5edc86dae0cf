// Saves a run and restores it, on all ranks. checkpoint/checkpoint_store defines the folder; nothing in it depends on
// the number of ranks.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "comm/communicator.h"
#include "core/option.h"
#include "core/problems.h"
#include "train/background_save.h"
#include "train/save_plan.h"

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
  Checkpointer(BackgroundSave::Target target, const CheckpointConfig& config, std::set<std::string> free_on_resume,
               comm::Communicator& control, comm::Communicator& tensors);

  // Returns whether this rank wants a checkpoint after `step`, by number or by time; ranks may differ about the time.
  bool due(std::int64_t step) const;

  // Begins to save `run`, whose weights belong to the model, with the optimizer's state, on all ranks; first waits for
  // the end of the save before. Records the ranks in `run`. Throws SharedError if the training may not go on.
  void begin(checkpoint::Checkpoint& run, HeldTensors optimizer);

  // Call before weights, buffers or the optimizer's state change.
  void wait_until_read();

  // Notices a save that has ended: records its seconds in `run`, or logs why it failed (a full disk); the training goes
  // on, because the next save may succeed. Returns false if it may not go on: then every rank must call finish().
  bool notice_end(checkpoint::Checkpoint& run);

  // Collective. Waits for the end of the save that has begun, if any. Throws SharedError if it has failed.
  void finish(checkpoint::Checkpoint& run);

  // Returns the seconds of each save that has succeeded since the last call.
  std::vector<double> take_seconds() { return std::exchange(seconds_, {}); }

  // Collective. Fills `run`, whose weights belong to the model, from the newest checkpoint that is whole. Rank 0 reads
  // it and sends it to the others, so that only rank 0 needs the file system; the optimizer's state stays on rank 0
  // (train/optimizer_state.h). Returns false if there never was one (checkpoint::load). Throws UsageError if `run`
  // differs in task, data or an option that must stay the same.
  bool restore_latest(checkpoint::Checkpoint& run);

 private:
  void end(checkpoint::Checkpoint& run, bool must_succeed);

  BackgroundSave::Target target_;
  CheckpointConfig config_;
  std::set<std::string> free_on_resume_;
  comm::Communicator& control_;
  comm::Communicator& tensors_;
  std::unique_ptr<BackgroundSave> running_;
  std::vector<double> seconds_;
  std::chrono::steady_clock::time_point last_save_ = std::chrono::steady_clock::now();  // began then
};

}  // namespace pixelbert::train
