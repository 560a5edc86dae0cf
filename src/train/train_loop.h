// The loop: run() and train_step() are the two functions to read first.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/gradient_reducer.h"
#include "core/activity.h"
#include "core/folder_lock.h"
#include "data/batch_loader.h"
#include "data/sample_stream.h"
#include "metrics/phase_clock.h"
#include "metrics/sink.h"
#include "metrics/step_stats.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"
#include "optim/optimizer_groups.h"
#include "train/checkpointer.h"
#include "train/deadline.h"
#include "train/loss_totals.h"

namespace pixelbert::train {

struct LoopConfig {
  std::uint64_t seed = 0;
  std::int64_t steps = 0;  // optimizer steps in all
  std::int64_t micro_batch = 0;
  bool bf16 = false;
  std::int64_t max_skipped_steps = 10;  // this many not-finite steps in a row end the job
  std::int64_t checkpoint_every_steps = 1000;
  double checkpoint_every_minutes = 0;  // 0: by steps only
  std::filesystem::path stop_file;
};

// Built by the command, which owns them all; they outlive the loop.
struct TrainParts {
  model::PixelBert model{nullptr};
  objectives::Objective& objective;
  const data::SampleStream& stream;
  data::BatchLoader& loader;
  comm::GradientReducer& reducer;
  optim::OptimizerGroups& optimizer;
  Checkpointer& checkpointer;
  Deadline& deadline;  // only rank 0 asks
  std::vector<metrics::Sink*> sinks;
  FolderLock* lock = nullptr;   // of the run folder, on the rank that writes there
  comm::Communicator& control;  // counts and decisions, on the CPU
  comm::Communicator& tensors;  // tensors of the model's device
  torch::Device device;
};

enum class Outcome { Finished, Stopped };

class TrainLoop {
 public:
  TrainLoop(TrainParts parts, LoopConfig config);

  // Every rank returns the same outcome after the same step, with a checkpoint of it on the disk.
  Outcome run(State& state);

 private:
  struct StepResult {
    metrics::StepStats stats;
    Requests requests;  // decided by all ranks together
  };
  StepResult train_step(const State& state);

  // What this rank does from now on: for the clock, and for whoever asks why nothing moves.
  void enter(metrics::Phase phase, std::string doing);
  void wait_for_ranks(activity::Wait place, std::string what);

  // One micro-batch: its gradient is added to the parameters' and its sums to `totals`.
  void forward_backward(const data::Batch& batch, LossTotals& totals, bool last_of_step);

  // Which term, rank and micro-batch made the step useless. Collective; leaves other gradients behind.
  std::string find_culprit(const std::vector<data::Batch>& batches, data::Position at, const LossTotals& totals);

  metrics::StepStats stats_of(const std::vector<data::Batch>& batches, const State& before, const LossTotals& totals,
                              double norm);

  // Says so, and ends the job when it happened too often.
  void skip(const State& before, const std::string& culprit);

  // This rank's wishes.
  bool stop_wanted() const;
  bool save_wanted(const State& before) const;

  TrainParts parts_;
  LoopConfig config_;
  metrics::PhaseClock clock_;
  std::int64_t skipped_in_a_row_ = 0;
  std::int64_t reduced_bytes_ = 0;  // at the end of the last step
  std::chrono::steady_clock::time_point last_save_ = std::chrono::steady_clock::now();
};

}  // namespace pixelbert::train
