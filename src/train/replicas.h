// The same weights on every rank: what is read by rank 0, sent to the others, and compared.
#pragma once

#include <filesystem>
#include <map>
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

// Every named tensor of the modules, parameters and buffers, sharing their storage: the names of model.safetensors.
checkpoint::NamedTensors named_tensors(const std::vector<const torch::nn::Module*>& modules);

// Copies `saved` into `tensors` by name. Returns the names that `saved` does not have; Error naming the tensor and both
// shapes when they differ.
std::vector<std::string> copy_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors);

// Collective. Rank 0's values on every rank.
void broadcast_tensors(const checkpoint::NamedTensors& tensors, comm::Communicator& communicator);

// Collective. Copies rank 0's `saved` into `tensors` on all ranks; Error when one is missing.
void restore_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors,
                     comm::Communicator& communicator);

// Collective; `place` is where the ranks wait. The ranks by the CRC-32C of their tensors: one entry when all have the
// same bits.
std::map<std::uint32_t, std::vector<int>> ranks_by_checksum(const checkpoint::NamedTensors& tensors,
                                                            activity::Wait place, comm::Communicator& control);

// Collective. Rank 0's description on every rank; nothing when it has none.
std::optional<checkpoint::Description> broadcast_description(const checkpoint::Description* own,
                                                             comm::Communicator& control);

// Collective. Rank 0 reads a checkpoint (checkpoint_store.h) with `read`, which returns a Description, Weights or a
// Checkpoint, perhaps none; the other ranks get its description, and tensors by restore_tensors().
template <class Read>
auto read_on_rank_0(const std::filesystem::path& path, comm::Communicator& control, Read read) {
  std::optional<typename decltype(std::optional(read(path)))::value_type> saved;
  activity::doing(activity::Phase::Start, fmt::format("looking for a checkpoint at {}", path.string()));
  if (control.rank() == 0) saved = read(path);
  if (auto description = broadcast_description(saved ? &*saved : nullptr, control); description && !saved) {
    static_cast<checkpoint::Description&>(saved.emplace()) = *std::move(description);
  }
  return saved;
}

}  // namespace pixelbert::train
