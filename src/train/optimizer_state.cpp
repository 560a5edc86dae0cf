#include "train/optimizer_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::train {

optim::NamedParameters own_pieces(const std::vector<std::string>& names, const std::vector<torch::Tensor>& parameters,
                                  const comm::GradientReducer& reducer) {
  std::vector<torch::Tensor> values;
  for (const torch::Tensor& parameter : parameters) values.push_back(at::empty({0}, parameter.options()));
  for (const comm::Piece& piece : reducer.pieces()) values[piece.parameter] = piece.weights;
  optim::NamedParameters result;
  for (std::size_t i = 0; i < names.size(); ++i) result.emplace_back(names[i], values[i], parameters[i].dim() <= 1);
  return result;
}

OptimizerState::OptimizerState(const std::vector<std::string>& names, const std::vector<torch::Tensor>& parameters,
                               const comm::GradientReducer& reducer, const optim::OptimizerGroups& optimizer,
                               comm::Communicator& tensors)
    : communicator_(tensors), device_(parameters.at(0).device()) {
  const checkpoint::NamedTensors own = optimizer.named_state();
  for (std::size_t i = 0; i < names.size(); ++i) {
    const torch::Tensor& parameter = parameters[i];
    std::vector<Holding> holdings;
    for (int rank = 0; rank < tensors.world_size(); ++rank) {
      const comm::Range elements = reducer.elements_of(i, rank);
      if (elements.size() > 0) holdings.push_back({.rank = rank, .elements = elements});
    }
    std::ranges::sort(holdings, {}, [](const Holding& holding) { return holding.elements.begin; });
    for (const std::string& suffix : optimizer.state_suffixes(names[i])) {
      HeldTensor& tensor = tensors_[names[i] + suffix];
      if (const auto found = own.find(names[i] + suffix); found != own.end()) tensor.own = found->second;
      if (suffix == ".step") {  // one number for the parameter: every rank with elements has it
        tensor.like = at::empty({}, parameter.options().device(at::kMeta));
        tensor.holdings = {{.rank = holdings.at(0).rank, .elements = {.begin = 0, .end = 1}}};
      } else {
        tensor.like = at::empty_strided(parameter.sizes(), parameter.strides(), parameter.options().device(at::kMeta));
        tensor.holdings = holdings;
      }
    }
  }
}

void OptimizerState::restore(const checkpoint::NamedTensors& saved) const {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors_) {
    activity::waiting(activity::Wait::Start, fmt::format("rank 0's tensor {}", name));
    const torch::Tensor whole =
        at::empty_strided(tensor.like.sizes(), tensor.like.strides(), tensor.like.options().device(device_));
    if (communicator_.rank() == 0) {
      const auto found = saved.find(name);
      PB_CHECK(found != saved.end(), "the checkpoint has no tensor '{}', which this model needs", name);
      PB_CHECK(found->second.sizes() == whole.sizes(), "the checkpoint's tensor '{}' is [{}], this model needs [{}]",
               name, fmt::join(found->second.sizes(), ", "), fmt::join(whole.sizes(), ", "));
      whole.copy_(found->second);
    }
    communicator_.broadcast(whole, 0);
    if (!tensor.own.defined()) continue;
    if (tensor.own.dim() == 0) {
      tensor.own.copy_(whole);
      continue;
    }
    const auto mine = std::ranges::find(tensor.holdings, communicator_.rank(), &Holding::rank);
    tensor.own.copy_(whole.as_strided({mine->elements.size()}, {1}, mine->elements.begin));
  }
}

}  // namespace pixelbert::train
