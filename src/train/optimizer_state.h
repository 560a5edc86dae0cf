// The optimizer's state as checkpoints hold it: whole tensors on rank 0, while each rank has the elements of its pieces
// (comm/gradient_reducer.h). Checkpoints therefore do not depend on the number of ranks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "comm/communicator.h"
#include "comm/gradient_reducer.h"
#include "optim/optimizer_groups.h"

namespace pixelbert::train {

// The parameters of a reducer that this rank updates; those that other ranks update have no elements.
// `names` and `parameters` are those of the reducer, in its order.
optim::NamedParameters own_pieces(const std::vector<std::string>& names, const std::vector<torch::Tensor>& parameters,
                                  const comm::GradientReducer& reducer);

class OptimizerState {
 public:
  // The reducer, the optimizer of its pieces and the communicator, which carries tensors of the model's device, must
  // outlive the state.
  OptimizerState(std::vector<std::string> names, std::vector<torch::Tensor> parameters,
                 const comm::GradientReducer& reducer, const optim::OptimizerGroups& optimizer,
                 comm::Communicator& tensors);

  // Types and shapes of the whole state, without values (meta tensors).
  const checkpoint::NamedTensors& shapes() const { return shapes_; }

  // This rank's elements.
  const checkpoint::NamedTensors& own() const { return own_; }

  // Collective. Returns a tensor of shapes() with its values on rank 0. What it returns on the others means nothing.
  torch::Tensor gather(const std::string& name) const;

  // Collective. Gives every rank its elements of the whole state; only rank 0's `saved` counts. Throws Error on
  // rank 0, naming the tensor, if one is missing or has another shape.
  void restore(const checkpoint::NamedTensors& saved) const;

 private:
  struct Item {
    std::size_t parameter = 0;
    bool per_element = true;  // or one number for each parameter
  };
  torch::Tensor gather_elements(const Item& item, const torch::Tensor& own) const;
  torch::Tensor gather_number(const Item& item, const torch::Tensor& own) const;
  torch::Tensor own(const std::string& name) const;  // undefined if this rank has none

  std::vector<torch::Tensor> parameters_;
  const comm::GradientReducer& reducer_;
  comm::Communicator& tensors_;
  std::map<std::string, Item> items_;  // all ranks treat them in this order
  checkpoint::NamedTensors shapes_;
  checkpoint::NamedTensors own_;
};

}  // namespace pixelbert::train
