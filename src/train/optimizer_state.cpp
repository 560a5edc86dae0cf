#include "train/optimizer_state.h"

#include <ATen/ATen.h>

#include <utility>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::train {
namespace {

// The elements in memory order.
torch::Tensor flat(const torch::Tensor& tensor) {
  return tensor.as_strided({tensor.numel()}, {1});
}

torch::Tensor uninitialised(const torch::Tensor& parameter) {
  return at::empty_strided(parameter.sizes(), parameter.strides(), parameter.options().requires_grad(false));
}

}  // namespace

optim::NamedParameters own_pieces(const std::vector<std::string>& names, const std::vector<torch::Tensor>& parameters,
                                  const comm::GradientReducer& reducer) {
  std::vector<torch::Tensor> values;
  for (const torch::Tensor& parameter : parameters) values.push_back(at::empty({0}, parameter.options()));
  for (const comm::Piece& piece : reducer.pieces()) values[piece.parameter] = piece.weights;
  optim::NamedParameters result;
  for (std::size_t i = 0; i < names.size(); ++i) result.emplace_back(names[i], values[i], parameters[i].dim() <= 1);
  return result;
}

OptimizerState::OptimizerState(std::vector<std::string> names, std::vector<torch::Tensor> parameters,
                               const comm::GradientReducer& reducer, const optim::OptimizerGroups& optimizer,
                               comm::Communicator& tensors)
    : parameters_(std::move(parameters)), reducer_(reducer), tensors_(tensors), own_(optimizer.named_state()) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    for (const std::string& suffix : optimizer.state_suffixes(names[i])) {
      const Item item = {.parameter = i, .per_element = suffix != ".step"};
      items_[names[i] + suffix] = item;
      shapes_[names[i] + suffix] = at::empty(item.per_element ? parameters_[i].sizes() : at::IntArrayRef{},
                                             parameters_[i].options().device(at::kMeta));
    }
  }
}

torch::Tensor OptimizerState::own(const std::string& name) const {
  const auto found = own_.find(name);
  return found == own_.end() ? torch::Tensor() : found->second;
}

torch::Tensor OptimizerState::gather(const std::string& name) const {
  const torch::NoGradGuard no_grad;
  activity::waiting(activity::Wait::State, fmt::format("the other ranks' elements of {}", name));
  const Item& item = items_.at(name);
  return item.per_element ? gather_elements(item, own(name)) : gather_number(item, own(name));
}

torch::Tensor OptimizerState::gather_elements(const Item& item, const torch::Tensor& mine) const {
  const torch::Tensor& parameter = parameters_[item.parameter];
  if (tensors_.world_size() == 1) return mine.as_strided(parameter.sizes(), parameter.strides());
  const torch::Tensor whole = tensors_.rank() == 0 ? uninitialised(parameter) : torch::Tensor();
  for (int rank = 0; rank < tensors_.world_size(); ++rank) {
    const comm::Range elements = reducer_.elements_of(item.parameter, rank);
    if (elements.size() == 0) continue;
    if (rank == 0) {
      if (whole.defined()) flat(whole).slice(0, elements.begin, elements.end).copy_(mine);
      continue;
    }
    torch::Tensor moved = whole.defined() ? flat(whole).slice(0, elements.begin, elements.end) : mine;
    if (tensors_.rank() != 0 && tensors_.rank() != rank) moved = at::empty({elements.size()}, parameter.options());
    tensors_.broadcast(moved, rank);
  }
  return whole;
}

torch::Tensor OptimizerState::gather_number(const Item& item, const torch::Tensor& mine) const {
  int owner = 0;
  while (owner + 1 < tensors_.world_size() && reducer_.elements_of(item.parameter, owner).size() == 0) ++owner;
  torch::Tensor number =
      mine.defined() ? mine.clone() : at::zeros(at::IntArrayRef{}, parameters_[item.parameter].options());
  tensors_.broadcast(number, owner);
  return number;
}

void OptimizerState::restore(const checkpoint::NamedTensors& saved) const {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, item] : items_) {
    const torch::Tensor& parameter = parameters_[item.parameter];
    activity::waiting(activity::Wait::Start, fmt::format("rank 0's tensor {}", name));
    torch::Tensor whole =
        item.per_element ? uninitialised(parameter) : at::empty(at::IntArrayRef{}, parameter.options());
    if (tensors_.rank() == 0) {
      const auto found = saved.find(name);
      PB_CHECK(found != saved.end(), "the checkpoint has no tensor '{}', which this model needs", name);
      PB_CHECK(found->second.sizes() == whole.sizes(), "the checkpoint's tensor '{}' is [{}], this model needs [{}]",
               name, fmt::join(found->second.sizes(), ", "), fmt::join(whole.sizes(), ", "));
      whole.copy_(found->second);
    }
    tensors_.broadcast(whole, 0);
    const torch::Tensor mine = own(name);
    if (!mine.defined()) continue;
    const comm::Range elements = reducer_.elements_of(item.parameter, tensors_.rank());
    mine.copy_(item.per_element ? flat(whole).slice(0, elements.begin, elements.end) : whole);
  }
}

}  // namespace pixelbert::train
