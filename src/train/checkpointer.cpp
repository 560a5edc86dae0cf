#include "train/checkpointer.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/activity.h"
#include "core/check.h"
#include "core/fault_point.h"
#include "core/files.h"
#include "core/log.h"

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

// What is not tensors, on all ranks.
void share(checkpoint::Checkpoint& saved, comm::Communicator& control) {
  saved.trainer = json::parse(broadcast_text(saved.trainer.dump(), control));
  saved.vocabulary = broadcast_text(saved.vocabulary, control);
  saved.step = saved.trainer["step"];
}

}  // namespace

Checkpointer::Checkpointer(std::filesystem::path folder, std::int64_t keep, Provenance provenance,
                           comm::Communicator& control, comm::Communicator& tensors)
    : folder_(std::move(folder)),
      keep_(keep),
      provenance_(std::move(provenance)),
      control_(control),
      tensors_(tensors) {}

void Checkpointer::check_replicas_agree(const State& state) {
  // One number per rank that any flipped bit changes. A replica that has drifted would ruin the run silently.
  torch::Tensor all = at::zeros({control_.world_size()}, at::kLong);
  all[control_.rank()] = static_cast<std::int64_t>(checksum_of(state.model));
  activity::waiting("checkpoint", activity::Wait::Checksums, "checksums of all ranks' weights");
  control_.all_reduce(all, comm::ReduceOp::Sum)->wait();
  for (int rank = 1; rank < control_.world_size(); ++rank) {
    PB_CHECK(
        all[rank].equal(all[0]),
        "the weights of rank {} differ from those of rank 0 at step {} (CRC-32C {:08x}, {:08x}): the ranks no longer "
        "train the same model; look for faulty memory or different library versions on that host",
        rank, state.step, all[rank].item<std::int64_t>(), all[0].item<std::int64_t>());
  }
}

double Checkpointer::save(const State& state) {
  const auto start = std::chrono::steady_clock::now();
  fault_sleep("sleep-save", state.step, control_.rank());
  check_replicas_agree(state);
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
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  save_seconds_ = std::max(save_seconds_, seconds);
  return seconds;
}

bool Checkpointer::restore_latest(State& state) {
  std::string newest;
  if (control_.rank() == 0) newest = checkpoint::newest_valid(folder_).value_or("").string();
  newest = broadcast_text(newest, control_);
  if (newest.empty()) return false;

  checkpoint::Checkpoint saved;
  if (control_.rank() == 0) saved = checkpoint::load(newest);
  share(saved, control_);
  check_same_training(saved.trainer, provenance_, newest);
  restore_tensors(saved.model, state.model, control_, tensors_);
  restore_tensors(saved.optimizer, state.optimizer, control_, tensors_);
  state.step = saved.trainer["step"];
  state.samples = saved.trainer["samples"];
  state.at = {saved.trainer["position"]["epoch"], saved.trainer["position"]["step"]};
  save_seconds_ = saved.trainer.value("save_seconds", 0.0);
  state.metrics_line = saved.trainer.value("metrics_line", "");
  world_sizes_ = saved.trainer["world_sizes"].get<decltype(world_sizes_)>();
  log::info("resuming from {}: step {}, epoch {}, {} pairs seen", newest, state.step, state.at.epoch, state.samples);
  return true;
}

checkpoint::Checkpoint read_model(const std::filesystem::path& path, comm::Communicator& control) {
  checkpoint::Checkpoint saved;
  if (control.rank() == 0) saved = checkpoint::load_model(path);
  share(saved, control);
  return saved;
}

void restore_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors,
                     comm::Communicator& control, comm::Communicator& device) {
  torch::NoGradGuard no_grad;
  if (control.rank() == 0) {
    for (const auto& [name, tensor] : tensors) {
      const auto found = saved.find(name);
      PB_CHECK(found != saved.end(), "the checkpoint has no tensor '{}', which this model needs", name);
      check_shape(name, found->second, tensor);
      torch::Tensor(tensor).copy_(found->second);
    }
  }
  broadcast_tensors(tensors, device, control);
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

std::string broadcast_text(const std::string& text, comm::Communicator& control, int root) {
  torch::Tensor length = at::zeros({1}, at::kLong);
  length[0] = static_cast<std::int64_t>(text.size());
  control.broadcast(length, root);
  torch::Tensor bytes = at::zeros({length.item<std::int64_t>()}, at::kByte);
  if (control.rank() == root) std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<std::uint8_t>());
  if (bytes.numel() > 0) control.broadcast(bytes, root);
  const auto* begin = bytes.data_ptr<std::uint8_t>();
  return {begin, begin + bytes.numel()};
}

void broadcast_tensors(const checkpoint::NamedTensors& tensors, comm::Communicator& communicator,
                       comm::Communicator& control) {
  torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    // Counters (steps, num_batches_tracked) stay on the host; channels-last weights travel as contiguous copies.
    comm::Communicator& by = tensor.is_cpu() ? control : communicator;
    torch::Tensor sent = tensor.contiguous();
    by.broadcast(sent, 0);
    if (!sent.is_same(tensor)) torch::Tensor(tensor).copy_(sent);
  }
}

}  // namespace pixelbert::train
