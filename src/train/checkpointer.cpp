#include "train/checkpointer.h"

#include <algorithm>
#include <utility>

#include "checkpoint/manifest.h"
#include "core/check.h"
#include "core/log.h"
#include "train/replicas.h"

namespace pixelbert::train {
namespace {

void check_same_training(const checkpoint::Description& saved, const checkpoint::Description& now,
                         const std::set<std::string>& free_on_resume, const std::filesystem::path& folder) {
  for (const auto& [name, value] : now.config) {
    const auto before = saved.config.find(name);
    if (free_on_resume.contains(name) || before == saved.config.end() || before->second == value) continue;
    throw UsageError(
        fmt::format("cannot resume {}: it was trained with --{} '{}', now it is '{}'. Keep the old value, or "
                    "continue from its weights with --init {} and another --run.dir",
                    folder.string(), name, before->second, value, folder.string()));
  }
  if (saved.task != now.task) {
    throw UsageError(fmt::format("cannot resume {}: it is a {} run, this is {}. Start another --run.dir",
                                 folder.string(), saved.task, now.task));
  }
  if (saved.data != now.data) {
    throw UsageError(
        fmt::format("cannot resume {}: it was trained on other data ({}; now {}). Give the same --data.shards "
                    "in the same order, or start another --run.dir",
                    folder.string(), fmt::join(saved.data, "; "), fmt::join(now.data, "; ")));
  }
}

}  // namespace

Checkpointer::Checkpointer(BackgroundSave::Target target, const CheckpointConfig& config,
                           std::set<std::string> free_on_resume, comm::Communicator& control,
                           comm::Communicator& tensors)
    : target_(std::move(target)),
      config_(config),
      free_on_resume_(std::move(free_on_resume)),
      control_(control),
      tensors_(tensors) {
  target_.keep = config_.keep;
}

bool Checkpointer::due(std::int64_t step) const {
  if (config_.every_steps > 0 && step % config_.every_steps == 0) return true;
  const std::chrono::duration<double, std::ratio<60>> minutes = std::chrono::steady_clock::now() - last_save_;
  return config_.every_minutes > 0 && minutes.count() >= config_.every_minutes;
}

void Checkpointer::begin(checkpoint::Checkpoint& run, HeldTensors optimizer) {
  end(run, /*must_succeed=*/false);
  const std::int64_t ranks = control_.world_size();
  if (run.world_sizes.empty() || run.world_sizes.back().ranks != ranks) run.world_sizes.push_back({.ranks = ranks});
  run.world_sizes.back().until_step = run.step;
  running_ = std::make_unique<BackgroundSave>(target_, run, held_by_all(run.model), std::move(optimizer));
  last_save_ = std::chrono::steady_clock::now();
}

void Checkpointer::wait_until_read() {
  if (running_) running_->wait_until_read();
}

bool Checkpointer::notice_end(checkpoint::Checkpoint& run) {
  if (!running_ || !running_->done()) return true;
  if (running_->broken()) return false;
  end(run, /*must_succeed=*/false);
  return true;
}

void Checkpointer::finish(checkpoint::Checkpoint& run) {
  end(run, /*must_succeed=*/true);
}

void Checkpointer::end(checkpoint::Checkpoint& run, bool must_succeed) {
  if (!running_) return;
  const SaveOutcome outcome = running_->wait();
  running_.reset();
  if (outcome.failure.empty()) {
    run.save_seconds = std::max(run.save_seconds, outcome.seconds);
    seconds_.push_back(outcome.seconds);
    return;
  }
  if (outcome.fatal || must_succeed) throw SharedError(outcome.failure);
  if (control_.rank() == 0) log::error("{}; the training continues and will try again", outcome.failure);
}

bool Checkpointer::restore_latest(checkpoint::Checkpoint& run) {
  std::optional<checkpoint::Checkpoint> saved =
      read_on_rank_0<checkpoint::Checkpoint>(target_.folder, control_, checkpoint::load);
  if (!saved) return false;
  check_same_training(*saved, run, free_on_resume_, target_.folder);
  restore_tensors(saved->model, run.model, tensors_);
  run.optimizer = std::move(saved->optimizer);
  run.step = saved->step;
  run.samples = saved->samples;
  run.epoch = saved->epoch;
  run.step_in_epoch = saved->step_in_epoch;
  run.metrics_line = saved->metrics_line;
  run.save_seconds = saved->save_seconds;
  run.skipped_in_a_row = saved->skipped_in_a_row;
  run.world_sizes = saved->world_sizes;
  log::info("resuming from {}: step {}, epoch {}, {} pairs seen",
            (target_.folder / checkpoint::step_name(run.step)).string(), run.step, run.epoch, run.samples);
  return true;
}

}  // namespace pixelbert::train
