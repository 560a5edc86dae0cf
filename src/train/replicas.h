// Keeps the weights the same on every rank: rank 0 reads them, the others receive them, and all compare them.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "comm/communicator.h"
#include "core/activity.h"
#include "core/check.h"

namespace torch::nn {
class Module;
}

namespace pixelbert::train {

// Returns all parameters and buffers of the modules, sharing their storage, under their names in model.safetensors.
checkpoint::NamedTensors named_tensors(const std::vector<const torch::nn::Module*>& modules);

// Copies `saved` into `tensors` by name. Returns the names that `saved` lacks. Throws Error naming the tensor and both
// shapes if they differ.
std::vector<std::string> copy_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors);

// Collective. Gives every rank the values of rank 0.
void broadcast_tensors(const checkpoint::NamedTensors& tensors, comm::Communicator& communicator);

// Collective. Copies rank 0's `saved` into `tensors` on all ranks. Throws Error if one is missing.
void restore_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors,
                     comm::Communicator& communicator);

// Collective. Returns whether all ranks have the same bits, by the CRC-32C of their tensors.
bool have_same_bits(const checkpoint::NamedTensors& tensors, comm::Communicator& control);

// Collective. Returns rank 0's description on the other ranks; nothing on rank 0, or if rank 0 has none.
std::optional<checkpoint::Description> broadcast_description(const checkpoint::Description* own,
                                                             comm::Communicator& control);

// Collective. Rank 0 reads a Description, Weights or a Checkpoint with `read` (checkpoint_store.h), if there is one.
// The other ranks receive only the description; restore_tensors() gives them the tensors.
template <class Saved>
std::optional<Saved> read_on_rank_0(const std::filesystem::path& path, comm::Communicator& control,
                                    const std::function<std::optional<Saved>(const std::filesystem::path&)>& read) {
  std::optional<Saved> saved;
  activity::doing(activity::Phase::Start, fmt::format("looking for a checkpoint at {}", path.string()));
  if (control.rank() == 0) saved = read(path);
  if (auto description = broadcast_description(saved ? &*saved : nullptr, control)) {
    static_cast<checkpoint::Description&>(saved.emplace()) = *std::move(description);
  }
  return saved;
}

}  // namespace pixelbert::train
