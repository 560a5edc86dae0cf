#include "train/checkpointer.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <nlohmann/json.hpp>

#include "checkpoint/manifest.h"
#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/fault_point.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/log.h"
#include "core/running_clock.h"

namespace pixelbert::train {
namespace {

using nlohmann::json;

// Options that may change between one run and its resumption, because the result does not depend on them.
bool may_change(const std::string& name) {
  for (const char* prefix : {"run.", "checkpoint.", "metrics.", "comm.", "watchdog."}) {
    if (name.starts_with(prefix)) return true;
  }
  for (const char* option : {"train.steps", "train.epochs", "train.device", "train.threads", "train.max-skipped-steps",
                             "data.threads", "data.queue-batches", "data.shards", "text.vocab"}) {
    if (name == option) return true;
  }
  return false;
}

void check_same_training(const json& saved, const Provenance& now, const std::filesystem::path& folder) {
  for (const auto& [name, value] : now.config) {
    if (may_change(name) || !saved["config"].contains(name)) continue;
    const auto before = saved["config"][name].get<std::string>();
    if (before != value) {
      throw UsageError(
          fmt::format("cannot resume {}: it was trained with --{} {}, now it is {}. Keep the old value, or "
                      "start another --run.dir",
                      folder.string(), name, before, value));
    }
  }
  const std::string task = saved.value("task", "pretrain");
  if (task != now.task) {
    throw UsageError(fmt::format("cannot resume {}: it is a {} run, this is {}. Start another --run.dir",
                                 folder.string(), task, now.task));
  }
  const auto data = saved["data"].get<std::vector<std::string>>();
  if (data != now.data_identity) {
    throw UsageError(
        fmt::format("cannot resume {}: it was trained on other data ({}; now {}). Give the same --data.shards "
                    "in the same order, or start another --run.dir",
                    folder.string(), fmt::join(data, "; "), fmt::join(now.data_identity, "; ")));
  }
}

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

// Collective. One number per rank that any flipped bit changes, and who has it.
std::map<std::uint32_t, std::vector<int>> ranks_by_checksum(const checkpoint::NamedTensors& tensors,
                                                            std::string_view phase, comm::Communicator& control) {
  torch::Tensor all = at::zeros({control.world_size()}, at::kLong);
  auto* const checksums = all.mutable_data_ptr<std::int64_t>();
  checksums[control.rank()] = checksum_of(tensors);
  activity::waiting(phase, activity::Wait::Checksums, "checksums of all ranks' weights");
  control.all_reduce(all, comm::ReduceOp::Sum)->wait();
  std::map<std::uint32_t, std::vector<int>> ranks_of;
  for (int rank = 0; rank < control.world_size(); ++rank) {
    ranks_of[static_cast<std::uint32_t>(checksums[rank])].push_back(rank);
  }
  return ranks_of;
}

// Gives rank 0's checkpoint to the other ranks, but for its tensors. Whether there is one.
bool share(std::optional<checkpoint::Checkpoint>& saved, comm::Communicator& control) {
  activity::waiting(
      "start", activity::Wait::Start,
      control.rank() == 0 ? "the other ranks, which a checkpoint is for" : "rank 0's reading of a checkpoint");
  const std::string trainer = comm::broadcast_text(saved ? json_text(saved->trainer) : "", control);
  if (!trainer.empty()) {
    if (!saved) saved.emplace();
    saved->vocabulary = comm::broadcast_text(saved->vocabulary, control);
  }
  activity::doing("start", "what the checkpoint says");
  if (trainer.empty()) return false;
  saved->trainer = json::parse(trainer);
  saved->step = saved->trainer["step"];
  return true;
}

// Weights that are not finite never recover, and the checkpoints before them are worth keeping. All ranks have the
// same.
void check_finite(const State& state) {
  try {
    checkpoint::check_finite(state.model, fmt::format("step {}", state.step));
    checkpoint::check_finite(state.optimizer, fmt::format("the optimizer's state of step {}", state.step));
  } catch (const Error& error) {
    throw SharedError(
        fmt::format("{}: it is not saved, older checkpoints are untouched. Lower the learning rates", error.what()));
  }
}

}  // namespace

Checkpointer::Checkpointer(std::filesystem::path folder, std::int64_t keep, Provenance provenance,
                           comm::Communicator& control, comm::Communicator& tensors)
    : folder_(std::move(folder)),
      keep_(keep),
      provenance_(std::move(provenance)),
      control_(control),
      tensors_(tensors) {}

// A replica that has drifted would ruin the run silently.
void Checkpointer::check_replicas_agree(const State& state) {
  const std::map<std::uint32_t, std::vector<int>> ranks_of = ranks_by_checksum(state.model, "checkpoint", control_);
  if (ranks_of.size() == 1) return;
  const std::vector<std::string> hosts = comm::gather_texts(host_name(), control_);
  std::vector<std::string> suspects;  // who is not of the majority: all, where there is none
  for (const auto& [crc, ranks] : ranks_of) {
    if (2 * std::ssize(ranks) > control_.world_size()) continue;
    for (const int rank : ranks) {
      suspects.push_back(fmt::format("rank {} on host {} ({:08x})", rank, hosts[static_cast<std::size_t>(rank)], crc));
    }
  }
  throw SharedError(
      fmt::format("the ranks no longer train the same model: at step {} the CRC-32C of the weights is another on {}; "
                  "look for faulty memory or different library versions there",
                  state.step, fmt::join(suspects, ", ")));
}

double Checkpointer::save(const State& state) {
  const auto start = RunningClock::now();
  fault_sleep("sleep-save", state.step, control_.rank());
  check_replicas_agree(state);
  check_finite(state);
  const std::int64_t ranks = control_.world_size();
  if (world_sizes_.empty() || world_sizes_.back()["ranks"] != ranks) {
    world_sizes_.push_back({{"until_step", state.step}, {"ranks", ranks}});
  }
  world_sizes_.back()["until_step"] = state.step;
  if (control_.rank() == 0) {
    const json trainer = {{"task", provenance_.task},
                          {"answers", provenance_.answers},
                          {"initial", provenance_.initial},
                          {"step", state.step},
                          {"samples", state.samples},
                          {"position", {{"epoch", state.at.epoch}, {"step", state.at.step}}},
                          {"config", provenance_.config},
                          {"data", provenance_.data_identity},
                          {"code_version", provenance_.code_version},
                          {"save_seconds", save_seconds_},
                          {"metrics_line", state.metrics_line},
                          {"world_sizes", world_sizes_}};
    activity::doing("checkpoint", "writing");
    checkpoint::save(folder_, {state.step, state.model, state.optimizer, trainer, provenance_.vocabulary}, keep_);
  }
  activity::waiting("checkpoint", activity::Wait::Save, "rank 0's writing");
  control_.barrier();
  const double seconds = std::chrono::duration<double>(RunningClock::now() - start).count();
  save_seconds_ = std::max(save_seconds_, seconds);
  return seconds;
}

bool Checkpointer::restore_latest(State& state) {
  activity::doing("start", fmt::format("looking for the newest checkpoint in {}", folder_.string()));
  std::optional<checkpoint::Checkpoint> newest;
  if (control_.rank() == 0) newest = checkpoint::load_newest(folder_);
  if (!share(newest, control_)) return false;
  checkpoint::Checkpoint& saved = *newest;
  check_same_training(saved.trainer, provenance_, folder_);
  restore_tensors(saved.model, state.model, tensors_);
  restore_tensors(saved.optimizer, state.optimizer, tensors_);
  state.step = saved.trainer["step"];
  state.samples = saved.trainer["samples"];
  state.at = {saved.trainer["position"]["epoch"], saved.trainer["position"]["step"]};
  save_seconds_ = saved.trainer.value("save_seconds", 0.0);
  state.metrics_line = saved.trainer.value("metrics_line", "");
  world_sizes_ = saved.trainer["world_sizes"].get<decltype(world_sizes_)>();
  log::info("resuming from {}: step {}, epoch {}, {} pairs seen",
            (folder_ / checkpoint::step_name(state.step)).string(), state.step, state.at.epoch, state.samples);
  return true;
}

checkpoint::Checkpoint read_model(const std::filesystem::path& path, comm::Communicator& control) {
  std::optional<checkpoint::Checkpoint> saved;
  activity::doing("start", fmt::format("looking for a checkpoint at {}", path.string()));
  if (control.rank() == 0) saved = checkpoint::load_model(path);
  share(saved, control);
  return *std::move(saved);
}

std::optional<checkpoint::Checkpoint> describe_newest(const std::filesystem::path& folder,
                                                      comm::Communicator& control) {
  std::optional<checkpoint::Checkpoint> newest;
  activity::doing("start", fmt::format("looking for the newest checkpoint in {}", folder.string()));
  if (control.rank() == 0) newest = checkpoint::describe_newest(folder);
  share(newest, control);
  return newest;
}

void restore_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors,
                     comm::Communicator& communicator) {
  torch::NoGradGuard no_grad;
  if (communicator.rank() == 0) {
    for (const auto& [name, tensor] : tensors) {
      const auto found = saved.find(name);
      PB_CHECK(found != saved.end(), "the checkpoint has no tensor '{}', which this model needs", name);
      check_shape(name, found->second, tensor);
      torch::Tensor(tensor).copy_(found->second);
    }
  }
  broadcast_tensors(tensors, communicator);
}

void check_shape(const std::string& name, const torch::Tensor& saved, const torch::Tensor& wanted) {
  PB_CHECK(saved.sizes() == wanted.sizes(), "the checkpoint's tensor '{}' is [{}], this model needs [{}]", name,
           fmt::join(saved.sizes(), ", "), fmt::join(wanted.sizes(), ", "));
}

std::uint32_t checksum_of(const checkpoint::NamedTensors& tensors) {
  std::uint32_t crc = 0;
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor host = tensor.cpu().contiguous();
    crc = crc32c({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}, crc);
  }
  return crc;
}

checkpoint::NamedTensors named_tensors(const std::vector<const torch::nn::Module*>& modules) {
  checkpoint::NamedTensors tensors;
  const auto add = [&tensors](const std::string& name, const torch::Tensor& tensor) {
    PB_CHECK(tensors.emplace(name, tensor.detach()).second, "two modules have a tensor '{}'", name);
  };
  for (const torch::nn::Module* module : modules) {
    for (const auto& item : module->named_parameters()) add(item.key(), item.value());
    for (const auto& item : module->named_buffers()) add(item.key(), item.value());
  }
  return tensors;
}

bool same_on_all_ranks(const checkpoint::NamedTensors& tensors, comm::Communicator& control) {
  return ranks_by_checksum(tensors, "start", control).size() == 1;
}

void broadcast_tensors(const checkpoint::NamedTensors& tensors, comm::Communicator& communicator) {
  torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    activity::waiting("start", activity::Wait::Start, fmt::format("rank 0's tensor {}", name));
    torch::Tensor sent = tensor.contiguous();  // channels-last weights travel as contiguous copies
    communicator.broadcast(sent, 0);
    if (!sent.is_same(tensor)) torch::Tensor(tensor).copy_(sent);
  }
}

}  // namespace pixelbert::train
