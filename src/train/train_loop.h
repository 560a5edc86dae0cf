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
#include "model/autocast.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"
#include "optim/optimizer_groups.h"
#include "train/checkpointer.h"
#include "train/deadline.h"
#include "train/device_copies.h"
#include "train/device_times.h"
#include "train/loss_totals.h"
#include "train/optimizer_state.h"

namespace pixelbert::train {

struct LoopConfig {
  std::int64_t epochs = 40;  // paper, section 4.1
  std::int64_t steps = 0;
  std::uint64_t seed = 0;
  std::int64_t max_skipped_steps = 10;
  bool same_numerics = false;
};

template <class Field>
void describe(LoopConfig& config, Field&& field) {
  field("train.epochs", config.epochs, "passes over all samples", OnResume::Free);
  field("train.steps", config.steps,
        "end after this many optimizer steps in all, unless train.epochs is reached first; 0: by epochs",
        OnResume::Free);
  field("train.seed", config.seed, "decides weights, order, masks, negatives, pixels and dropout");
  field("train.max-skipped-steps", config.max_skipped_steps,
        "end the job after this many steps in a row whose loss or gradient is not finite", OnResume::Free);
  field("train.same-numerics", config.same_numerics,
        "refuse ranks whose results differ from rank 0's, or from the run so far, in the last bits", OnResume::Free);
}

// One problem, naming the option, for every value that cannot work.
void find_problems(const LoopConfig& config, Problems& problems);

// Returns the place of a run's next step.
inline data::Position position_of(const checkpoint::Description& run) {
  return {run.epoch, run.step_in_epoch};
}

// Returns the optimizer steps of the whole run.
std::int64_t total_steps(const LoopConfig& config, const data::SampleStream& stream);

// Parts of a training. The caller owns them; they must outlive the loop.
struct TrainParts {
  model::PixelBert model{nullptr};
  objectives::Objective& objective;
  const data::SampleStream& stream;
  data::BatchLoader& loader;
  comm::GradientReducer& reducer;
  optim::OptimizerGroups& optimizer;  // of the reducer's pieces
  const OptimizerState& optimizer_state;
  Checkpointer& checkpointer;
  Deadline& deadline;  // only rank 0 reads it
  std::vector<metrics::Sink*> sinks;
  FolderLock* lock = nullptr;   // of the run folder, on the rank that writes there
  comm::Communicator& control;  // counts and decisions, on the CPU
  comm::Communicator& tensors;  // tensors of the model's device
  torch::Device device;
  model::Precision precision = model::Precision::Float32;
  double peak_flops_per_second = 0;  // of this rank's device, to report
  std::filesystem::path stop_file;   // a user creates it to stop the run
};

enum class Outcome { Finished, Stopped };

class TrainLoop {
 public:
  TrainLoop(TrainParts parts, LoopConfig config);

  // Collective. Trains from where `run` stands to its end. Every rank returns the same outcome after the same step,
  // with a checkpoint of it on the disk.
  Outcome run(checkpoint::Checkpoint& run);

 private:
  struct StepResult {
    metrics::StepStats stats;
    Requests requests;  // decided by all ranks together
  };
  StepResult train_step(checkpoint::Checkpoint& run);

  comm::SumTree tree_of(data::Position at) const;  // of the step's micro-batches

  // The verbs of a step, in their order. Each reports what it does (core/activity.h).
  std::vector<data::Batch> load(data::Position at);
  LossTotals start_counts(const std::vector<data::Batch>& batches, data::Position at);
  void wait_for_counts(LossTotals& totals);

  // Runs micro-batch i of this rank's; adds its gradient to the parameters' and its sums to `totals`.
  void forward_backward(const std::vector<data::Batch>& batches, std::size_t i, LossTotals& totals);

  // Collective.
  void sum_gradients();
  torch::Tensor sum_batch_statistics(const comm::SumTree& tree, std::vector<torch::Tensor> of_micro_batches);
  torch::Tensor gradient_norm(const LossTotals& totals);  // NaN if a loss is not finite

  // Collective. Updates the weights, or leaves them as they are if the norm is not finite.
  void update(const checkpoint::Description& run, const torch::Tensor& norm, const torch::Tensor& statistics);

  // Begins to copy the next step's first micro-batch to the GPU, if the loader has made it.
  void copy_ahead();

  // Collective. Waits for the device, and sums losses and the requests of each rank. Returns the norm.
  double sum_losses(LossTotals& totals, checkpoint::Checkpoint& run, const torch::Tensor& norm);

  // Enters a phase, on the host and on the device.
  void enter(activity::Phase phase, std::string what);
  void wait_in(activity::Wait place, std::string what);

  void take_device_times();

  // Collective. Names the term or gradient, the micro-batch and the rank that made the step non-finite. Overwrites the
  // gradients.
  std::string find_culprit(const std::vector<data::Batch>& batches, data::Position at, const LossTotals& totals);

  metrics::StepStats stats_of(const std::vector<data::Batch>& batches, const checkpoint::Description& run,
                              const LossTotals& totals, double norm);

  // Logs a skipped step; throws SharedError after too many. Returns the reason's name in the metrics.
  std::string skip(checkpoint::Description& run, const std::string& culprit);

  // Returns StepStats::bucket_ready of a step on the CPU; empty on a GPU, or without a micro-batch.
  std::vector<double> bucket_ready() const;

  bool stop_wanted(const checkpoint::Description& run) const;  // by this rank

  TrainParts parts_;
  LoopConfig config_;
  std::int64_t steps_;  // of the whole run
  metrics::PhaseClock clock_;
  DeviceTimes device_times_;
  DeviceCopies device_copies_;
  std::int64_t reduced_bytes_ = 0;  // at the end of the last step
  std::chrono::steady_clock::time_point backward_began_, backward_ended_;
  double gather_seconds_ = 0;  // of the last update
};

}  // namespace pixelbert::train
