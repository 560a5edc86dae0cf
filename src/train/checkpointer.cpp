#include "train/checkpointer.h"

#include <algorithm>
#include <utility>

#include "checkpoint/manifest.h"
#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/host.h"
#include "core/log.h"
#include "core/running_clock.h"
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
                    "start another --run.dir",
                    folder.string(), name, before->second, value));
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

Checkpointer::Checkpointer(std::filesystem::path folder, const CheckpointConfig& config,
                           std::set<std::string> free_on_resume, comm::Communicator& control,
                           comm::Communicator& tensors)
    : folder_(std::move(folder)),
      config_(config),
      free_on_resume_(std::move(free_on_resume)),
      control_(control),
      tensors_(tensors) {}

bool Checkpointer::due(std::int64_t step) const {
  if (config_.every_steps > 0 && step % config_.every_steps == 0) return true;
  const std::chrono::duration<double, std::ratio<60>> minutes = std::chrono::steady_clock::now() - last_save_;
  return config_.every_minutes > 0 && minutes.count() >= config_.every_minutes;
}

// A replica that has drifted would ruin the run silently.
void Checkpointer::check_replicas_agree(const checkpoint::Checkpoint& run) {
  const std::map<std::uint32_t, std::vector<int>> ranks_of =
      ranks_by_checksum(run.model, activity::Wait::Checksums, control_);
  if (ranks_of.size() == 1) return;
  const std::vector<std::string> hosts = comm::gather_texts(host_name(), control_);
  std::vector<std::string> suspects;  // the ranks outside the majority; all, if there is none
  for (const auto& [crc, ranks] : ranks_of) {
    if (2 * std::ssize(ranks) > control_.world_size()) continue;
    for (const int rank : ranks) {
      suspects.push_back(fmt::format("rank {} on host {} ({:08x})", rank, hosts[static_cast<std::size_t>(rank)], crc));
    }
  }
  throw SharedError(
      fmt::format("the ranks no longer train the same model: at step {} the CRC-32C of the weights differs on {}; "
                  "look for faulty memory or different library versions there",
                  run.step, fmt::join(suspects, ", ")));
}

// What is not finite never recovers, and earlier checkpoints are worth keeping.
void Checkpointer::check_finite(const checkpoint::Checkpoint& run, const OptimizerState* state) {
  std::string problem;
  try {
    checkpoint::check_finite(run.model, fmt::format("step {}", run.step));
    checkpoint::check_finite(state ? state->own() : run.optimizer,
                             fmt::format("the optimizer's state of step {}", run.step));
  } catch (const Error& error) {
    problem = error.what();
  }
  for (const std::string& of_rank : comm::gather_texts(problem, control_)) {
    if (of_rank.empty()) continue;
    throw SharedError(fmt::format("{}: not saved, older checkpoints are untouched. Lower the learning rates", of_rank));
  }
}

// Where rank 0 cannot write, it still receives the rest, so that the others learn of it.
void Checkpointer::write(const checkpoint::Checkpoint& run, const OptimizerState& state) {
  checkpoint::Checkpoint described = run;
  described.optimizer = state.shapes();
  auto next = described.optimizer.begin();
  const auto fetch = [&](const std::string& name) {
    PB_CHECK(next->first == name, "expected to save '{}' next, found '{}'", next->first, name);
    ++next;
    torch::Tensor tensor = state.gather(name);
    activity::doing(activity::Phase::Checkpoint, "writing");
    return tensor;
  };
  try {
    if (control_.rank() == 0) checkpoint::save(folder_, described, config_.keep, fetch);
  } catch (...) {
    while (next != described.optimizer.end()) fetch(next->first);
    throw;
  }
  while (next != described.optimizer.end()) fetch(next->first);  // on the other ranks
}

double Checkpointer::save(checkpoint::Checkpoint& run, const OptimizerState* state) {
  const auto start = RunningClock::now();
  check_replicas_agree(run);
  check_finite(run, state);
  const std::int64_t ranks = control_.world_size();
  if (run.world_sizes.empty() || run.world_sizes.back().ranks != ranks) run.world_sizes.push_back({.ranks = ranks});
  run.world_sizes.back().until_step = run.step;
  if (control_.rank() == 0) activity::doing(activity::Phase::Checkpoint, "writing");
  if (state) {
    write(run, *state);
  } else if (control_.rank() == 0) {
    checkpoint::save(folder_, run, config_.keep);
  }
  activity::waiting(activity::Wait::Save, "rank 0's writing");
  control_.barrier();
  const double seconds = std::chrono::duration<double>(RunningClock::now() - start).count();
  run.save_seconds = std::max(run.save_seconds, seconds);
  last_save_ = std::chrono::steady_clock::now();
  return seconds;
}

bool Checkpointer::restore_latest(checkpoint::Checkpoint& run) {
  std::optional<checkpoint::Checkpoint> saved = read_on_rank_0(folder_, control_, checkpoint::load);
  if (!saved) return false;
  check_same_training(*saved, run, free_on_resume_, folder_);
  restore_tensors(saved->model, run.model, tensors_);
  run.optimizer = std::move(saved->optimizer);
  run.step = saved->step;
  run.samples = saved->samples;
  run.epoch = saved->epoch;
  run.step_in_epoch = saved->step_in_epoch;
  run.metrics_line = saved->metrics_line;
  run.save_seconds = saved->save_seconds;
  run.world_sizes = saved->world_sizes;
  log::info("resuming from {}: step {}, epoch {}, {} pairs seen", (folder_ / checkpoint::step_name(run.step)).string(),
            run.step, run.epoch, run.samples);
  return true;
}

}  // namespace pixelbert::train
