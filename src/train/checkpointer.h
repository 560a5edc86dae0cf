// The state of training, and its way to the disk and back on all ranks. What the folder looks like is
// checkpoint/checkpoint_store's; nothing in it depends on the number of ranks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "comm/communicator.h"
#include "data/sample_stream.h"

namespace torch::nn {
class Module;
}

namespace pixelbert::train {

// Where training is. The tensors belong to model and optimizer: reading saves them, copying into them restores.
struct State {
  std::int64_t step = 0;     // optimizer steps made or skipped
  std::int64_t samples = 0;  // pairs seen over all ranks
  data::Position at;         // the next step's
  checkpoint::NamedTensors model;
  checkpoint::NamedTensors optimizer;
  std::string metrics_line;  // of the last step, as far as it is known when it is saved
};

// What a checkpoint says about how it was made; a resumed run must agree on the parts that decide what is learned.
struct Provenance {
  std::map<std::string, std::string> config;  // every option, resolved
  std::vector<std::string> data_identity;     // one line per data set
  std::string vocabulary;                     // vocab.txt
  std::string code_version;
  std::string task = "pretrain";
  std::vector<std::string> answers;  // VQA: the answer vocabulary
  nlohmann::json initial;            // where the weights came from, and what those had been trained on; null: nowhere
};

class Checkpointer {
 public:
  // `control` carries texts and CPU tensors, `tensors` those of the model's device.
  Checkpointer(std::filesystem::path folder, std::int64_t keep, Provenance provenance, comm::Communicator& control,
               comm::Communicator& tensors);

  // Collective. Checks that all ranks hold the same weights, then rank 0 writes the folder; no rank returns before it
  // is whole. Returns the seconds it took. SharedError when the ranks' weights differ or are not finite.
  double save(const State& state);

  // The most that a save has taken, in this job or those that it resumes; 0 before the first.
  double save_seconds() const { return save_seconds_; }

  // Collective. Fills `state` from the newest folder whose checksums hold, read by rank 0 and sent to the others, so
  // that only rank 0 needs the file system. False when there never was one (checkpoint::load_newest). An option that
  // decides what is learned and was changed since is a UsageError naming it.
  bool restore_latest(State& state);

 private:
  void check_replicas_agree(const State& state);

  std::filesystem::path folder_;
  std::int64_t keep_;
  Provenance provenance_;
  comm::Communicator& control_;
  comm::Communicator& tensors_;
  double save_seconds_ = 0;
  std::vector<std::map<std::string, std::int64_t>> world_sizes_;  // {"until_step", "ranks"}, one entry per change
};

// Collective. The weights of a checkpoint, without the optimizer's state: rank 0 reads them, the others have only
// `trainer` and `vocabulary` until restore_tensors.
checkpoint::Checkpoint read_model(const std::filesystem::path& path, comm::Communicator& control);

// Collective. What the newest checkpoint of `folder` says, without a tensor; nothing when there is none.
std::optional<checkpoint::Checkpoint> describe_newest(const std::filesystem::path& folder, comm::Communicator& control);

// Collective. Copies rank 0's `saved` into `tensors` (by name; Error for a missing name or another shape) on all ranks.
void restore_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors,
                     comm::Communicator& communicator);

// Error naming the tensor and both shapes when they differ.
void check_shape(const std::string& name, const torch::Tensor& saved, const torch::Tensor& wanted);

// CRC-32C over the values in the order of their names: the same weights give the same number, on any device.
std::uint32_t checksum_of(const checkpoint::NamedTensors& tensors);

// Every named tensor of the modules, parameters and buffers, sharing their storage: the names of model.safetensors.
checkpoint::NamedTensors named_tensors(const std::vector<const torch::nn::Module*>& modules);

// Collective. Whether every rank's tensors have the same bits.
bool same_on_all_ranks(const checkpoint::NamedTensors& tensors, comm::Communicator& control);

// Collective. Rank 0's values on every rank.
void broadcast_tensors(const checkpoint::NamedTensors& tensors, comm::Communicator& communicator);

}  // namespace pixelbert::train
