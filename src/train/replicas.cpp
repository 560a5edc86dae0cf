#include "train/replicas.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include "comm/texts.h"
#include "core/json_text.h"

namespace pixelbert::train {

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

std::vector<std::string> copy_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors) {
  const torch::NoGradGuard no_grad;
  std::vector<std::string> missing;
  for (const auto& [name, tensor] : tensors) {
    const auto found = saved.find(name);
    if (found == saved.end()) {
      missing.push_back(name);
      continue;
    }
    PB_CHECK(found->second.sizes() == tensor.sizes(), "the checkpoint's tensor '{}' is [{}], this model needs [{}]",
             name, fmt::join(found->second.sizes(), ", "), fmt::join(tensor.sizes(), ", "));
    torch::Tensor(tensor).copy_(found->second);
  }
  return missing;
}

void broadcast_tensors(const checkpoint::NamedTensors& tensors, comm::Communicator& communicator) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    activity::waiting(activity::Wait::Start, fmt::format("rank 0's tensor {}", name));
    torch::Tensor sent = tensor.contiguous();  // channels-last weights travel as contiguous copies
    communicator.broadcast(sent, 0);
    if (!sent.is_same(tensor)) torch::Tensor(tensor).copy_(sent);
  }
  communicator.barrier();  // throws if a broadcast has failed, which on a GPU nobody has seen
}

void restore_tensors(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors,
                     comm::Communicator& communicator) {
  if (communicator.rank() == 0) {
    const std::vector<std::string> missing = copy_tensors(saved, tensors);
    PB_CHECK(missing.empty(), "the checkpoint has no tensor '{}', which this model needs", missing[0]);
  }
  broadcast_tensors(tensors, communicator);
}

bool have_same_bits(const checkpoint::NamedTensors& tensors, comm::Communicator& control) {
  const std::int64_t checksum = checkpoint::digest_of(tensors).crc32c;
  torch::Tensor most = at::zeros({2}, at::kLong);
  auto* const found = most.mutable_data_ptr<std::int64_t>();
  found[0] = checksum;
  found[1] = -checksum;
  activity::waiting(activity::Wait::Start, "checksums of all ranks' weights");
  control.all_reduce(most, comm::ReduceOp::Max)->wait();
  return found[0] == -found[1];
}

std::optional<checkpoint::Description> broadcast_description(const checkpoint::Description* own,
                                                             comm::Communicator& control) {
  activity::waiting(activity::Wait::Start, control.rank() == 0 ? "the other ranks, which need the checkpoint"
                                                               : "rank 0's reading of a checkpoint");
  const std::string trainer = comm::broadcast_text(own ? json_text(to_json(*own)) : "", control);
  std::string vocabulary = comm::broadcast_text(own ? own->vocabulary : "", control);
  activity::doing(activity::Phase::Start, "using the checkpoint's description");
  if (own || trainer.empty()) return std::nullopt;
  return checkpoint::parse_description(trainer, std::move(vocabulary),
                                       nlohmann::json::parse(trainer)["step"].get<std::int64_t>(),
                                       "rank 0's checkpoint");
}

}  // namespace pixelbert::train
