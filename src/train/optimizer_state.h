// The optimizer's state as checkpoints hold it: whole tensors on rank 0, while each rank has the elements of its pieces
// (comm/gradient_reducer.h). Checkpoints therefore do not depend on the number of ranks.
#pragma once

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

  // Collective. Returns the whole state on rank 0, in the parameters' shapes; nothing on the other ranks.
  checkpoint::NamedTensors gather() const;

  // Collective. Gives every rank its elements of what gather() returned; only rank 0's `saved` counts. Throws Error on
  // rank 0, naming the tensor, if one is missing or has another shape.
  void restore(const checkpoint::NamedTensors& saved) const;

 private:
  // One tensor of the state, in the order in which all ranks treat them.
  struct Item {
    std::string name;
    std::size_t parameter = 0;
    bool per_element = true;  // or one number for each parameter
  };
  torch::Tensor gather_elements(const Item& item) const;
  torch::Tensor gather_number(const Item& item) const;
  torch::Tensor own(const Item& item) const;  // undefined if this rank has none

  std::vector<torch::Tensor> parameters_;
  const comm::GradientReducer& reducer_;
  comm::Communicator& tensors_;
  std::vector<Item> items_;
  checkpoint::NamedTensors own_;
};

}  // namespace pixelbert::train
